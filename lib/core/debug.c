// SPDX-License-Identifier: MIT
/*
 * debug.c: mistakes that show only by what becomes of them later.
 *
 * A step that takes long: everybody else waits meanwhile, and nobody says why.
 * A future that is completed by the wrong thread: its waiters run there, or are
 * lost. A future that is dropped while it is pending: nobody will be told. A
 * coroutine that was never awaited: known when the loop closes, when nobody
 * remembers who has made it.
 * Looking for them has a price, so it is done only if options.debug or the
 * environment asks for it; where it is not, one compare in ways that are slow
 * anyway is left of it, and none in a step.
 *
 * Whose a future is, its allocator knows: every future that was made by a call
 * lies in its loop's memory. Frames in place may lie anywhere; they are not
 * asked for.
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

void coili_debug_step(struct coil_loop *loop, struct coil_coro *co,
                      int32_t line, int64_t began)
{
    int64_t took;
    if (!is_slow(loop, began, &took))
        return;
    char message[64];
    snprintf(message, sizeof message, "a step took %lld ms: from here",
             (long long)(took / 1000000));
    const struct coil_site *site = coili_site(co);
    coil_call_exception_handler(&(struct coil_exception){
        .message = message,
        .name = coili_name(co),
        .file = site->file,
        .line = coili_source_line(line, site),
    });
}

/* A function has no name at run time; addr2line(1) knows it. */
void coili_debug_call(struct coil_loop *loop, coil_call_fn *fn, int64_t began)
{
    int64_t took;
    if (!is_slow(loop, began, &took))
        return;
    char message[96];
    snprintf(message, sizeof message, "a call took %lld ms: of function %#llx",
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

/* A frame that has not begun is in no list: two of its words are free. */
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
