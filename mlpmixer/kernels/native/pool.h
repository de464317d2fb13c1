// Threads that work on one call together.
//
// Threads are made when first needed, sleep between calls and end with the process. Several calls at
// once have threads of their own. After a fork the child makes new ones. Nobody waits for a thread
// that the system does not let run: a call's work lies in stages of small pieces that whoever comes
// takes, and only pieces that others have begun are waited for.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>

// Pieces of work that may be done at the same time.
struct Stage {
    std::atomic<int64_t> next{0}, done{0};
};

class Team {
  public:
    explicit Team(int size) : size(size) {}

    // Does pieces of a stage, work(piece), until all of `count` are taken.
    template <class Work> void help(Stage &stage, int64_t count, const Work &work) {
        for (int64_t piece; (piece = stage.next.fetch_add(1)) < count;) {
            work(piece);
            if (stage.done.fetch_add(1) + 1 == count) wake();
        }
    }

    // Waits until all pieces of a stage are done: a short while awake, then asleep.
    void wait(const Stage &stage, int64_t count);

    const int size;  // how many may come

  private:
    void wake();

    std::mutex mutex;
    std::condition_variable changed;
};

// Held for a moment around what a fork must not find half done.
std::mutex &gate();

// Calls work(context, team, rank) on this thread, as rank 0, and on up to threads - 1 others that
// may come late or not at all. Returns when this one has returned and no other is at work.
void work_together(int threads, void (*work)(void *context, Team &team, int rank), void *context);
