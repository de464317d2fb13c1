// Threads that work on one call together.
//
// Threads are made when first needed, sleep between calls and end with the process. Several calls at
// once have teams of their own. After a fork the child makes new threads.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>

class Team {
  public:
    explicit Team(int size) : size(size) {}

    // Waits until all members are here: a short while awake, then asleep.
    void meet();

    const int size;

  private:
    std::atomic<int> arrived{0};
    std::atomic<unsigned> meetings{0};
    std::mutex mutex;
    std::condition_variable all_here;
};

// Held for a moment around what a fork must not find half done.
std::mutex &gate();

// Calls work(context, team, rank) on `threads` threads, this one included, and waits for all. Where
// the system gives fewer threads the team is smaller.
void work_together(int threads, void (*work)(void *context, Team &team, int rank), void *context);
