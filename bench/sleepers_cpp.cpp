// SPDX-License-Identifier: MIT
/*
 * sleepers_cpp.cpp: the million sleeping tasks of sleepers.h in C++20.
 *
 *     sleepers_cpp [--tasks N] [--seconds S]
 *
 * Coroutines on the heap by the default operator new, deadlines in
 * std::priority_queue: what one writes without a library. A promise holds what
 * the C frame holds: who waits and a result.
 */
#include "sleepers.h"

#include <coroutine>
#include <exception>
#include <queue>
#include <vector>

struct timer {
    int64_t due;
    std::coroutine_handle<> sleeper;
    bool operator<(const timer &other) const
    {
        return due > other.due;  // the queue's top is the earliest
    }
};

static std::priority_queue<timer> timers;

struct sleep_until {
    int64_t due;
    bool await_ready() noexcept
    {
        return false;
    }
    void await_suspend(std::coroutine_handle<> h)
    {
        timers.push({ due, h });
    }
    void await_resume() noexcept
    {
    }
};

struct task {
    struct promise_type {
        std::coroutine_handle<> waiter;
        long result = 0;

        task get_return_object()
        {
            return {};
        }
        std::suspend_never initial_suspend() noexcept
        {
            return {};
        }
        std::suspend_never final_suspend() noexcept
        {
            return {};
        }
        void return_value(long value)
        {
            result = value;
            if (waiter)
                waiter.resume();
        }
        void unhandled_exception()
        {
            std::terminate();
        }
    };
};

OPAQUE static task sleeper(int64_t due, long *ended)
{
    co_await sleep_until{ due };
    ++*ended;
    co_return 0;
}

int main(int argc, char **argv)
{
    sleepers run = sleepers_begin(argc, argv);
    long ended = 0;

    for (long i = 0; i < run.tasks; i++)
        sleeper(sleepers_due(&run, i), &ended);
    sleepers_all_asleep(&run);

    while (!timers.empty()) {
        sleep_until_ns(timers.top().due);
        int64_t now = now_ns();
        while (!timers.empty() && timers.top().due <= now) {
            std::coroutine_handle<> h = timers.top().sleeper;
            timers.pop();
            h.resume();
        }
    }
    sleepers_end(&run, "cpp", ended);
    return 0;
}
