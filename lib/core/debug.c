// SPDX-License-Identifier: MIT
/*
 * debug.c: mistakes whose effect shows only later.
 *
 *     a step that takes long      all other tasks wait meanwhile
 *     a future completed by       its waiters run in that thread, or are lost
 *     another thread
 *     a pending future dropped    code that expects its result never runs
 *     a coroutine that was never  known when the loop closes, when it is too
 *     awaited                     late to say where it was made
 *
 * To look for these has a price, so it is done only if options.debug or the
 * environment asks for it. Without debug mode one compare is left, in functions
 * that are slow anyway, and none in a step.
 *
 * To which loop a future belongs is known from its address: a future that was
 * made by a call lies in the memory of its loop. Frames in place may lie
 * anywhere, and are not checked.
 */
#include "debug.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "coroutine.h"
#include "dump.h"
#include "exception.h"
#include "future.h"
#include "loop.h"
#include "task.h"

bool coili_debug_wanted(void)
{
    const char *word = secure_getenv("COIL_DEBUG");
    return word && *word && strcmp(word, "0") != 0;
}

/* ---- Slow steps ------------------------------------------------------- */

static bool is_slow(const struct coil_loop *loop, int64_t began, int64_t *took)
{
    *took = coil_now() - began;
    return *took > loop->options.slow_step_ns;
}

/* The message names the line at which the step began: it came from there on. */
void coili_debug_step(struct coil_loop *loop, struct coil_coro *co,
                      int32_t line, int64_t began)
{
    int64_t took;
    if (!is_slow(loop, began, &took))
        return;
    char message[64];
    snprintf(message, sizeof message, "slow step: %lld ms, from this line on",
             (long long)(took / 1000000));
    const struct coil_site *site = coili_site(co);
    coil_call_exception_handler(&(struct coil_exception){
        .message = message,
        .name = coili_name(co),
        .file = site->file,
        .line = coili_source_line(line, site),
    });
}

/* At run time a function has no name; addr2line(1) finds it by its address. */
void coili_debug_call(struct coil_loop *loop, coil_call_fn *fn, int64_t began)
{
    int64_t took;
    if (!is_slow(loop, began, &took))
        return;
    char message[96];
    snprintf(message, sizeof message, "slow call: %lld ms, of function %#llx",
             (long long)(took / 1000000), (unsigned long long)(uintptr_t)fn);
    coil_call_exception_handler(&(struct coil_exception){ .message = message });
}

/* ---- Threads ---------------------------------------------------------- */

void coili_debug_owner(struct coil_loop *loop, const struct coil_future *f)
{
    if (f->refs == REFS_MOST || is_in_place(f) ||
        coili_alloc_owns(&loop->alloc, f))
        return;
    coili_misuse(loop->current, NULL, 0,
                 "a future or task of another thread's loop is used here: "
                 "coil_call_soon_threadsafe() is the way there");
}

/* ---- Lost ------------------------------------------------------------- */

/*
 * `next` and `since` of a frame are not used before its first step: they keep
 * the site and the line of the coroutine that made it.
 */
void coili_debug_made(struct coil_loop *loop, struct coil_coro *co)
{
    struct coil_coro *maker = loop->current;
    if (!maker)
        return;
    const struct coil_site *site = coili_site(maker);
    co->next = (uintptr_t)site;
    co->since = (uint32_t)coili_source_line(maker->line, site);
}

void coili_debug_never_awaited(struct coil_coro *co)
{
    const struct coil_site *maker = (const struct coil_site *)co->next;
    char message[256];
    co->next = 0;
    if (maker)
        snprintf(message, sizeof message,
                 "a coroutine was never awaited; made by %s, after %s:%u",
                 maker->name, maker->file, (unsigned)co->since);
    coili_report(maker ? message : "a coroutine was never awaited", co, 0, 0);
}

void coili_debug_dropped(void)
{
    coili_report("a future was dropped while it was pending",
                 coili_loop->current, 0, 0);
}
