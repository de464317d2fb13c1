#include "pool.h"

#include <pthread.h>

#include <system_error>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#define REST() _mm_pause()
#else
#define REST() std::this_thread::yield()
#endif

namespace {

constexpr int ROUNDS_AWAKE = 2000;  // some 30 microseconds

struct Job {
    void (*work)(void *, Team &, int);
    void *context;
    Team *team;
};

class Worker {
  public:
    Worker() : thread([this] { run(); }) { thread.detach(); }

    void start(const Job &next, int next_rank) {
        const std::lock_guard<std::mutex> lock(mutex);
        job = next;
        rank = next_rank;
        state = ASKED;
        changed.notify_all();
    }

    // Takes the job back if it is not begun, else waits for its end.
    void finish() {
        std::unique_lock<std::mutex> lock(mutex);
        if (state == ASKED) state = IDLE;
        changed.wait(lock, [this] { return state == IDLE; });
    }

  private:
    void run() {
        std::unique_lock<std::mutex> lock(mutex);
        for (;;) {
            changed.wait(lock, [this] { return state == ASKED; });
            state = BUSY;
            lock.unlock();
            job.work(job.context, *job.team, rank);
            lock.lock();
            state = IDLE;
            changed.notify_all();
        }
    }

    std::mutex mutex;
    std::condition_variable changed;
    enum { IDLE, ASKED, BUSY } state = IDLE;
    Job job = {};
    int rank = 0;
    std::thread thread;
};

// The workers without a job. Never destroyed: they sleep until the process ends.
std::vector<Worker *> *idle = new std::vector<Worker *>;

void before_fork() { gate().lock(); }
void after_fork() { gate().unlock(); }
void after_fork_in_child() {
    idle = new std::vector<Worker *>;  // the parent's workers are not in this process
    gate().unlock();
}

const int prepared = pthread_atfork(before_fork, after_fork, after_fork_in_child);

std::vector<Worker *> hire(int count) {
    std::vector<Worker *> hired;
    const std::lock_guard<std::mutex> lock(gate());
    while (int(hired.size()) < count && !idle->empty()) {
        hired.push_back(idle->back());
        idle->pop_back();
    }
    try {
        while (int(hired.size()) < count) hired.push_back(new Worker);
    } catch (const std::system_error &) {
        // The system gives no more threads: the team stays smaller.
    }
    return hired;
}

}  // namespace

std::mutex &gate() {
    static std::mutex *mutex = new std::mutex;
    return *mutex;
}

void Team::wake() {
    { const std::lock_guard<std::mutex> lock(mutex); }  // nobody is between looking and sleeping
    changed.notify_all();
}

void Team::wait(const Stage &stage, int64_t count) {
    for (int i = 0; i < ROUNDS_AWAKE; ++i) {
        if (stage.done.load() >= count) return;
        REST();
    }
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return stage.done.load() >= count; });
}

void work_together(int threads, void (*work)(void *, Team &, int), void *context) {
    (void)prepared;
    const std::vector<Worker *> workers = hire(threads - 1);
    Team team(int(workers.size()) + 1);
    const Job job = {work, context, &team};
    for (size_t i = 0; i < workers.size(); ++i) workers[i]->start(job, int(i) + 1);
    work(context, team, 0);
    for (Worker *worker : workers) worker->finish();
    const std::lock_guard<std::mutex> lock(gate());
    idle->insert(idle->end(), workers.begin(), workers.end());
}
