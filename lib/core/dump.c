// SPDX-License-Identifier: MIT
/*
 * dump.c: what each task waits for, where, and for how long.
 *
 *     - crawl  crawl.c:52  running
 *         - fetch  crawl.c:31
 *           coil_http_get  session.c:88  recv fd 7, 1.204 s
 *           ~ lines  crawl.c:12  has yielded, 0.250 s
 *
 * Below a task stand its children. Below a frame stand the coroutines that it
 * has called and, with a tilde, the generators that it runs, at the line where
 * they yielded or where they close.
 *
 * A frame does not store its file and name: coili_site() asks the coroutine's
 * function for them.
 *
 * The dump is written to a descriptor and allocates nothing, since it is used
 * when memory is out and the loop cannot be closed.
 */
#include "dump.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "block.h"
#include "coroutine.h"
#include "future.h"
#include "loop.h"
#include "scope.h"
#include "task.h"

#define LEVELS 16 /* that are shown by indenting */

static int levels(int n)
{
    return n < LEVELS ? n : LEVELS;
}

/* Print to a descriptor; a line that does not fit the buffer is cut. */
static __attribute__((format(printf, 2, 3))) void say(int fd,
                                                      const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n < 0)
        return;
    size_t len = (size_t)n < sizeof line ? (size_t)n : sizeof line - 1;
    for (size_t sent = 0; sent < len;) {
        ssize_t w = write(fd, line + sent, len - sent);
        if (w <= 0)
            return;
        sent += (size_t)w;
    }
}

/* The coroutine that this frame has called and waits for; or NULL. */
static struct coil_coro *callee(const struct coil_coro *co)
{
    if (!co->awaiting || co->awaiting & AWAITS_TAG)
        return NULL;
    struct coil_future *f = awaited_future(co);
    if (kind_of(f) != KIND_CORO || !(f->flags & F_CALLED) ||
        coil_future_done(f))
        return NULL;
    return coro_of(f);
}

/* Run by an iteration, whose turn it is not; the root of its chain of calls. */
static bool is_generator(const struct coil_coro *co)
{
    return !(co->future.flags & (F_TASK | F_CALLED)) && co->future.waiters;
}

/* True for a generator at its YIELD, and for one to which that delegates. */
static bool at_rest(const struct coil_coro *co)
{
    while (co->future.flags & F_CALLED)
        co = (const struct coil_coro *)co->future.waiters;
    return is_generator(co) && co->future.flags & F_GENERATOR;
}

/* What the innermost frame of a chain waits for. */
static void describe(struct coil_coro *co, char *buf, size_t size)
{
    struct coil_loop *loop = coili_loop;
    if (co == loop->current) {
        snprintf(buf, size, "running");
    } else if (co->awaiting == 0) {
        snprintf(buf, size, "ready to begin");
    } else if ((co->awaiting & AWAITS_TAG) == AWAITS_TIMER) {
        snprintf(buf, size, "sleep");
    } else if (co->awaiting == AWAITS_CHILDREN) {
        snprintf(buf, size, "%u children", coili_nursery_find(co)->running);
    } else {
        struct coil_future *f = awaited_future(co);
        if (coil_future_done(f)) {
            snprintf(buf, size, "%s", at_rest(co) ? "has yielded" : "ready");
        } else if (kind_of(f) == KIND_CORO) {
            snprintf(buf, size, "task %s", coili_name(coro_of(f)));
        } else if (kind_of(f) == KIND_CUSTOM) {
            const struct coil_future_class *cls = custom_of(f)->cls;
            if (cls->describe)
                cls->describe(f, buf, size);
            else
                snprintf(buf, size, "%s", cls->name);
        } else {
            snprintf(buf, size, "future");
        }
    }
}

/*
 * Negative: the line of a FOR_AWAIT. 0: not begun. A line that is not in the
 * source gives that of the ASYNC; a landing is a line and a number above it.
 */
int coili_source_line(int32_t line, const struct coil_site *site)
{
    if (line < 0)
        return -1 - line;
    if (line == 0 || line >= LINE_LEAST)
        return site->line;
    return line & COILI_LANDING_LINE;
}

static const char *phase(const struct coil_coro *co)
{
    if (co->line == LINE_FINALLY || co->line == LINE_OVER)
        return " ending";
    if (co->line >= LANDING_LEAST)
        return co->awaiting == AWAITS_CHILDREN ? " ends a block"
                                               : " enters a block";
    return co->future.flags & F_FINALLY ? " in FINALLY" : "";
}

/*
 * One line: name, file, line and phase; for a leaf also what it waits for. The
 * first frame of a task has a dash. Below LEVELS the lines are not indented
 * further, and the dash is followed by the depth.
 */
static void say_frame(int fd, int depth, int nesting, struct coil_coro *co)
{
    struct coil_loop *loop = coili_loop;
    const struct coil_site *site = coili_site(co);
    bool first = co->future.flags & F_TASK;
    say(fd, "%*s%s", levels(depth) * 4 + levels(nesting) * 2, "",
        first              ? "- "
        : is_generator(co) ? "~ "
                           : "  ");
    if (first && depth > LEVELS)
        say(fd, "[%d] ", depth);
    say(fd, "%s  %s:%d%s", first ? coili_name(co) : site->name, site->file,
        coili_source_line(co->line, site), phase(co));
    if (!callee(co)) {
        char what[128];
        describe(co, what, sizeof what);
        uint32_t ms = (uint32_t)(coil_now() / 1000000) - co->since;
        say(fd, "  %s", what);
        if (co != loop->current && co->awaiting)
            say(fd, ", %u.%03u s", ms / 1000, ms % 1000);
    }
    say(fd, "\n");
}

/* The frame that called this one, or runs this generator; NULL: a task. */
static struct coil_coro *above(const struct coil_coro *co)
{
    return co->future.flags & F_TASK ? NULL
                                     : (struct coil_coro *)co->future.waiters;
}

/*
 * The frames of a task. `nesting` is the number of generators from the frame
 * upwards. It is counted along the way from one frame to the next: to count it
 * for each frame anew would be quadratic in a long chain of calls.
 */
static void say_task(int fd, int depth, struct coil_coro *co)
{
    int nesting = 0;
    say_frame(fd, depth, 0, co);
    for (struct coil_coro *next; (next = coili_next_frame(co)); co = next) {
        for (; above(co) && co != above(next); co = above(co))
            nesting -= is_generator(co);
        nesting += is_generator(next);
        say_frame(fd, depth, nesting, next);
    }
}

/* Each task with its frames; the indent is its depth in the tree. */
void coil_dump(int fd)
{
    struct coil_loop *loop = coili_need_loop();
    struct coil_loop_stats stats;
    coil_loop_get_stats(loop, &stats);
    say(fd, "coil: %u tasks, %u operations in flight, %u timers\n",
        stats.tasks, stats.in_flight, stats.timers);
    int depth = 0;
    for (struct coil_task *t = NULL; (t = coili_task_next(t, &depth));)
        say_task(fd, depth, &t->coro);
}
