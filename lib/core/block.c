// SPDX-License-Identifier: MIT
/*
 * block.c: blocks: keywords that apply to a part of a coroutine's body.
 *
 * A body is one `switch (co->line)`, so an early exit from a block can jump to
 * the closing brace of that block: the brace has a case label of its own, the
 * landing. An open block is a record in co->scopes whose id is its landing. So
 * coili_body_over() decides in one place where the body continues after an
 * await that failed, FAIL and RETURN: at the landing of the innermost open
 * block or, if no block is open, after the body. The error or value on its way
 * out, the outcome, is kept in the frame meanwhile, where RETURN's value is
 * kept until FINALLY has run.
 *
 * A record goes through these stages. The header of the block's loop calls
 * coili_block_more() each time to learn what comes next:
 *
 *     stage     more() is called           and does
 *     ENTERED   at the keyword             runs the block: -> BODY
 *     ACQUIRES  at the keyword, resumed    WITH, USING: acquired: -> BODY; not
 *                                          acquired: skips the block with the
 *                                          error
 *     BODY      at the end of the block,   closes iterations begun in it; GROUP
 *               or at the landing          with children: -> DRAINS; else over
 *               elsewhere                  aborts: it was a `break`
 *     DRAINS    the children have ended    over
 *               a request has come         asks the children again
 *     no record memory ran out at entry    skips the block, with -ENOMEM
 *               an error on its way out    to the landing around the block
 *
 * When a block is over, its record leaves the list and its keyword treats the
 * outcome. TRY takes an error; WITHIN, CANCEL_SCOPE and GROUP may replace an
 * error or clear it. An outcome that is still there goes to the next landing.
 *
 * In FINALLY no outcome is on its way out: the frame holds that of the body,
 * which blocks leave alone. There TRY records the errors of its block itself.
 */
#include <coil/block.h>

#include "block.h"

#include <errno.h>

#include "base/check.h"
#include "cancel_scope.h"
#include "coroutine.h"
#include "future.h"
#include "generator.h"
#include "group.h"
#include "loop.h"
#include "scope.h"

static bool in_finally(const struct coil_coro *co)
{
    return co->future.flags & F_FINALLY;
}

/* ---- TRY -------------------------------------------------------------- */

/*
 * Without memory for a record TRY cannot take errors: it skips its block. In
 * FINALLY the block runs all the same, since all of FINALLY has to run.
 */
void coili_try(struct coil_coro *co, int32_t id, bool all)
{
    struct coili_scope *s = coili_scope_push(co, SCOPE_TRY,
                                             sizeof(struct try_scope));
    if (s) {
        s->id = id;
        s->on = all;
    } else {
        coili_loop->try_error = -ENOMEM;
        coili_loop->last_detail = 0;
        co->line = in_finally(co) ? LINE_BARE : LINE_SKIP;
    }
}

int coili_try_error(void)
{
    return coili_loop->try_error;
}

/*
 * The innermost TRY that takes such an error records it, if it is the first one
 * of its block. This task's own cancellation is taken by TRY_ALL alone; then a
 * cancelled scope around it strikes again.
 */
bool coili_try_notes(struct coil_coro *co, struct coili_end end)
{
    FOR_SCOPES(s, co->scopes) {
        struct try_scope *t = (struct try_scope *)s;
        if (s->kind != SCOPE_TRY || (end.own && !s->on))
            continue;
        if (!t->error) {
            t->error = end.err;
            t->detail = end.detail;
        } else {
            coili_report_second(co, end);
        }
        if (end.own && coili_loop->strike_again)
            coili_loop->strike_again(co, end.detail);
        return true;
    }
    return false;
}

void coili_try_none(struct coil_coro *co)
{
    FOR_SCOPES(s, co->scopes)
        if (s->kind == SCOPE_TRY)
            s->on = false;
}

/*
 * A TRY ends: its error goes to coili_try_error(), and an outcome that it takes
 * is cleared. RETURN's value is not taken, and this task's own cancellation
 * only by TRY_ALL. In FINALLY the errors were recorded in `t` before.
 */
static void try_over(struct coil_coro *co, struct try_scope *t)
{
    struct coil_loop *loop = coili_loop;
    struct coil_future *f = &co->future;
    bool own = f->flags & F_OWN_CANCEL, all = t->scope.on;
    loop->try_error = t->error;
    loop->last_detail = t->detail;
    coili_scope_pop(co, &t->scope);
    if (in_finally(co) || outcome_of(f) != S_FAILED || (own && !all))
        return;
    loop->try_error = f->result.e.error;
    loop->last_detail = f->result.e.detail;
    coili_outcome_clear(co);
    if (own && loop->strike_again)
        loop->strike_again(co, loop->last_detail);
}

/* ---- WITH, USING ------------------------------------------------------ */

/*
 * `acquire` was made by coil_hold(), which has pushed the record: that is the
 * newest one, and not acquired yet. Without memory for a record `acquire` is a
 * future that has failed with -ENOMEM, and the block is skipped.
 */
void coili_with(struct coil_coro *co, int32_t id, struct coil_future *acquire)
{
    struct coili_scope *s = co->scopes;
    if (s && s->kind == SCOPE_HOLD && !s->on) {
        s->id = id;
        s->stage = BLOCK_ACQUIRES;
        coili_await(co, acquire, id);
        return;
    }
    co->awaiting = (uintptr_t)acquire;
    if (!coili_failed(co))
        co->line = LINE_SKIP;
}

/* The block is over: pop its record, then release the object. */
static void release(struct coil_coro *co, struct hold_scope *hold)
{
    coil_call_fn *release_fn = hold->release;
    void *object = hold->object;
    coili_scope_pop(co, &hold->scope);
    release_fn(object);
}

/* ---- Out of a block --------------------------------------------------- */

/* Free the record; the keyword may replace or clear the outcome. */
static void block_over(struct coil_coro *co, struct coili_scope *s)
{
    switch (s->kind) {
    case SCOPE_TRY:
        try_over(co, (struct try_scope *)s);
        break;
    case SCOPE_CANCEL:
        coili_cancel_scope_over(co, (struct coili_cancel_scope *)s);
        break;
    case SCOPE_GROUP:
        coili_group_over(co, (struct group_scope *)s);
        break;
    default:
        release(co, (struct hold_scope *)s);
        break;
    }
}

void coili_block_leave(struct coil_coro *co)
{
    struct coili_scope *s = coili_block_of(co);
    if (in_finally(co))
        coili_misuse(co, NULL, 0, "LEAVE in FINALLY: use `if`");
    if (!s)
        coili_misuse(co, NULL, 0, "LEAVE stands in no block");
    co->line = s->id;
}

/* ---- What comes next -------------------------------------------------- */

/*
 * In debug mode each block tries its landing before its code runs. Inside a
 * `switch` of the user the landing is not found: coili_leave() is reached
 * instead, and aborts. Without debug mode only an error or an await in the
 * block would reveal the mistake. No code of the user is run here.
 */
static void try_landing(struct coil_coro *co, struct coili_scope *s)
{
    s->stage = BLOCK_PROBED;
    co->line = s->id;
    co->step(co);
}

/* co->line 0 says that the block runs. */
static bool run_body(struct coil_coro *co, struct coili_scope *s)
{
    if (COILI_UNLIKELY(coili_loop->debug))
        try_landing(co, s);
    s->stage = BLOCK_BODY;
    co->line = 0;
    return true;
}

/* The block is over, or is not run. */
static bool go_on_behind(struct coil_coro *co, int32_t id)
{
    co->line = id;
    return false;
}

/*
 * WITH, USING: the await of `acquire` has ended, or it still waits. Once it
 * ends well, the block runs. If it fails, the block is skipped: outside of
 * FINALLY coili_failed() jumps with the error, in FINALLY the code continues
 * after the block.
 */
static bool acquired(struct coil_coro *co, struct coili_scope *s, int32_t id)
{
    if (coili_loop->current != co) /* suspended: it still waits */
        return true;
    if (!coil_future_failed(awaited_future(co))) {
        s->on = 1;
        coili_failed(co); /* lets go of the future */
        return run_body(co, s);
    }
    coili_scope_pop(co, s);
    if (coili_failed(co))
        return true;
    return go_on_behind(co, id); /* in FINALLY */
}

/*
 * There is no record of this block. Four cases: memory ran out and the block is
 * skipped; memory ran out in FINALLY, before or after the block runs; an error
 * of the keyword is on its way out; or a `goto`.
 */
static bool without_record(struct coil_coro *co, int32_t id)
{
    int32_t line = co->line;
    if (line == LINE_SKIP)
        return go_on_behind(co, id);
    if (line == LINE_BARE) {
        coili_loop->bare++;
        co->line = 0;
        return true;
    }
    if (in_finally(co) && coili_loop->bare) { /* the block has run */
        coili_loop->bare--;
        coili_loop->try_error = -ENOMEM;
        return go_on_behind(co, id);
    }
    if (in_finally(co)) { /* FINALLY stood inside of the block, and has ended */
        co->line = COILI_LINE_THROUGH;
        return true;
    }
    if (!outcome_of(&co->future))
        coili_misuse(co, NULL, 0, "a `goto` into or out of a block: LEAVE "
                                  "leaves it");
    return true;
}

/*
 * The next thing that the block does, by its stage: see the table at the top.
 *
 * Result    true with co->line: 0 runs the block, `id` waits (returns from the
 *           function), another line is where the coroutine continues. False:
 *           the code after the block runs
 */
bool coili_block_more(struct coil_coro *co, int32_t id)
{
    struct coili_scope *s = coili_block_of(co);
    if (COILI_UNLIKELY(!s || s->id != id))
        return without_record(co, id);
    if (s->stage == BLOCK_ENTERED)
        return run_body(co, s);
    if (COILI_UNLIKELY(s->stage == BLOCK_PROBED))
        return true; /* the landing is found: back to try_landing() */
    if (s->stage == BLOCK_ACQUIRES)
        return acquired(co, s, id);

    /*
     * At the end of the block the line is THROUGH, after a jump it is `id`. Any
     * other line means that a `break` has left the block.
     */
    if (COILI_UNLIKELY(s->stage == BLOCK_BODY && co->line != id &&
                       co->line != COILI_LINE_THROUGH))
        coili_misuse(co, NULL, 0, "a `break` in a block: LEAVE leaves the "
                                  "block; a loop around it needs a flag");
    /* Newer records belong to loops and HOLDs in the block: close the loops. */
    if (co->scopes != s)
        coili_close_iterations(co, s);
    /* The children end before the keyword treats the outcome: they may fail. */
    if (s->kind == SCOPE_GROUP &&
        coili_group_waits(co, (struct group_scope *)s))
        return true;
    block_over(co, s);
    /* An outcome that the keyword did not take goes to the next landing. */
    if (outcome_of(&co->future) && !in_finally(co)) {
        coili_body_over(co);
        return true;
    }
    return go_on_behind(co, id);
}
