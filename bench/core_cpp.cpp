// SPDX-License-Identifier: MIT
/*
 * core_cpp.cpp: the rows of core_c.c in C++20 coroutines.
 *
 *     core_cpp [--quick]
 *
 * The smallest runtime that a C++ programmer would call good: a lazy task with
 * symmetric transfer between caller and child, and spawned tasks on an
 * intrusive ready queue. As in core_c.c there are no errors, no cancel and no
 * reference counts, and what another translation unit would hold is opaque:
 * the queue's push, the frame allocator, and the coroutines that are called.
 * Awaiters are templates in headers, so they are inlined here too.
 *
 * Two peers: cpp_malloc uses the default operator new (what one gets), cpp_pool
 * a free list through promise_type::operator new. There is no call_inplace: the
 * language has no way to place a frame in another one (gcc elides none).
 */
#include "bench.h"

#include <coroutine>
#include <cstddef>
#include <exception>
#include <utility>

// --- What a library would hold ----------------------------------------------

struct ready {
    ready *next = nullptr;
    std::coroutine_handle<> handle;
};

static ready *ready_head, **ready_tail = &ready_head;

OPAQUE static void ready_push(ready *r)
{
    r->next = nullptr;
    *ready_tail = r;
    ready_tail = &r->next;
}

static void run()
{
    while (ready_head) {
        ready *r = ready_head;
        ready_head = r->next;
        if (!ready_head)
            ready_tail = &ready_head;
        r->handle.resume();
    }
}

static constexpr std::size_t frame_size = 128;
static void *free_list;

OPAQUE static void *frame_new()
{
    void *f = free_list;
    if (!f)
        return malloc(frame_size);
    memcpy(&free_list, f, sizeof free_list);
    return f;
}

OPAQUE static void frame_free(void *f)
{
    memcpy(f, &free_list, sizeof free_list);
    free_list = f;
}

template <bool Pooled> struct frame_allocator {
};

template <> struct frame_allocator<true> {
    static void *operator new(std::size_t size)
    {
        if (size > frame_size)
            die("a frame of %zu bytes", size);
        return frame_new();
    }
    static void operator delete(void *f)
    {
        frame_free(f);
    }
};

// A lazy child: it starts when awaited and resumes its caller when it ends.
template <bool Pooled> struct called {
    struct promise_type : frame_allocator<Pooled> {
        long result = 0;
        std::coroutine_handle<> caller;

        called get_return_object()
        {
            return called{ handle_type::from_promise(*this) };
        }
        std::suspend_always initial_suspend() noexcept
        {
            return {};
        }
        struct back_to_caller {
            bool await_ready() noexcept
            {
                return false;
            }
            std::coroutine_handle<>
            await_suspend(std::coroutine_handle<promise_type> h) noexcept
            {
                return h.promise().caller;
            }
            void await_resume() noexcept
            {
            }
        };
        back_to_caller final_suspend() noexcept
        {
            return {};
        }
        void return_value(long value)
        {
            result = value;
        }
        void unhandled_exception()
        {
            std::terminate();
        }
    };
    using handle_type = std::coroutine_handle<promise_type>;
    handle_type handle;

    explicit called(handle_type h) : handle(h)
    {
    }
    called(const called &) = delete;
    ~called()
    {
        handle.destroy();
    }
    bool await_ready() noexcept
    {
        return false;
    }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> h) noexcept
    {
        handle.promise().caller = h;
        return handle;
    }
    long await_resume() noexcept
    {
        return handle.promise().result;
    }
};

// A spawned task: started by the ready queue, awaited by whoever holds it.
template <bool Pooled> struct spawned {
    struct promise_type : frame_allocator<Pooled> {
        ready link;
        long result = 0;
        bool done = false;
        ready *waiter = nullptr;

        spawned get_return_object()
        {
            link.handle = handle_type::from_promise(*this);
            return spawned{ handle_type::from_promise(*this) };
        }
        std::suspend_always initial_suspend() noexcept
        {
            return {};
        }
        std::suspend_always final_suspend() noexcept
        {
            done = true;
            if (waiter)
                ready_push(waiter);
            return {};
        }
        void return_value(long value)
        {
            result = value;
        }
        void unhandled_exception()
        {
            std::terminate();
        }
    };
    using handle_type = std::coroutine_handle<promise_type>;
    handle_type handle;

    spawned() = default;
    explicit spawned(handle_type h) : handle(h)
    {
    }
    spawned(spawned &&other) noexcept
        : handle(std::exchange(other.handle, nullptr))
    {
    }
    spawned &operator=(spawned &&other) noexcept
    {
        std::swap(handle, other.handle);
        return *this;
    }
    ~spawned()
    {
        if (handle)
            handle.destroy();
    }
    void start()
    {
        ready_push(&handle.promise().link);
    }
    bool done() const
    {
        return handle.promise().done;
    }

    bool await_ready() const noexcept
    {
        return handle.promise().done;
    }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> h) noexcept
    {
        handle.promise().waiter = &h.promise().link;
    }
    long await_resume() const noexcept
    {
        return handle.promise().result;
    }
};

struct yield_now {
    bool await_ready() noexcept
    {
        return false;
    }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> h) noexcept
    {
        ready_push(&h.promise().link);
    }
    void await_resume() noexcept
    {
    }
};

// --- The coroutines ---------------------------------------------------------

using task = spawned<false>;

static void run_task(task &&t)
{
    t.start();
    run();
    if (!t.done())
        die("a coroutine did not end");
}

static task resume_task(long *sum)
{
    for (;;) {
        ++*sum;
        co_await std::suspend_always{};
    }
}

static void resume_loop(long n)
{
    long sum = 0;
    task t = resume_task(&sum);
    for (long i = 0; i < n; i++) {
        void *address = t.handle.address();
        LAUNDER(address);
        std::coroutine_handle<>::from_address(address).resume();
    }
    if (sum != n)
        die("resume: %ld of %ld", sum, n);
}

static task yield_task(long n)
{
    for (; n > 0; n--)
        co_await yield_now{};
    co_return 0;
}

static void yield_loop(long n)
{
    task tasks[100];
    for (task &t : tasks) {
        t = yield_task(n / 100);
        t.start();
    }
    run();
}

static task done_task()
{
    co_return 1;
}

static task await_done_task(task *other, long n)
{
    long sum = 0;
    for (long i = 0; i < n; i++) {
        LAUNDER(other);
        sum += co_await *other;
    }
    co_return sum;
}

static void await_done_loop(long n)
{
    task other = done_task();
    other.start();
    run();
    run_task(await_done_task(&other, n));
}

template <bool Pooled> OPAQUE called<Pooled> call_child(long argument)
{
    co_return argument + 1;
}

template <bool Pooled> task call_task(long n)
{
    long sum = 0;
    for (long i = 0; i < n; i++)
        sum += co_await call_child<Pooled>(i);
    co_return sum;
}

template <bool Pooled> static void call_heap_loop(long n)
{
    run_task(call_task<Pooled>(n));
}

template <bool Pooled> OPAQUE spawned<Pooled> spawn_child(long argument)
{
    co_return argument + 1;
}

template <bool Pooled> task spawn_1_task(long n)
{
    long sum = 0;
    for (long i = 0; i < n; i++) {
        spawned<Pooled> child = spawn_child<Pooled>(i);
        child.start();
        sum += co_await child;
    }
    co_return sum;
}

template <bool Pooled> static void spawn_1_loop(long n)
{
    run_task(spawn_1_task<Pooled>(n));
}

template <bool Pooled> task spawn_1000_task(long n)
{
    static spawned<Pooled> children[1000];
    long sum = 0;
    for (; n > 0; n -= 1000) {
        for (long i = 0; i < 1000; i++) {
            children[i] = spawn_child<Pooled>(i);
            children[i].start();
        }
        for (spawned<Pooled> &child : children) {
            sum += co_await child;
            child = {};
        }
    }
    co_return sum;
}

template <bool Pooled> static void spawn_1000_loop(long n)
{
    run_task(spawn_1000_task<Pooled>(n));
}

int main(int argc, char **argv)
{
    struct bench b = bench_options(argc, argv);

    b.peer = "cpp_malloc";
    measure(&b, "resume", resume_loop);
    measure(&b, "yield", yield_loop);
    measure(&b, "await_done", await_done_loop);
    measure(&b, "call_heap", call_heap_loop<false>);
    measure(&b, "spawn_1", spawn_1_loop<false>);
    measure(&b, "spawn_1000", spawn_1000_loop<false>);

    b.peer = "cpp_pool";
    measure(&b, "call_heap", call_heap_loop<true>);
    measure(&b, "spawn_1", spawn_1_loop<true>);
    measure(&b, "spawn_1000", spawn_1000_loop<true>);
    return 0;
}
