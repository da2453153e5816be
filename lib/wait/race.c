// SPDX-License-Identifier: MIT
/*
 * race.c: the first task or call that succeeds wins.
 *
 * Invariant: when a race ends, all its tasks have ended (unless the race was
 * cancelled twice). A loser that was cancelled but still runs uses what its
 * caller lent to it. A program that cancels the losers and goes on at once may
 * free that too early.
 *
 * A race of tasks shares them, as gather does. A staggered race makes tasks of
 * its own, which are children of its coroutine: its return cancels and awaits
 * them. The winner's value is handed on, with the duty to dispose of it; a
 * loser that succeeds too late disposes of its own value.
 */
#include <coil/race.h>

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include <coil/coroutine.h>
#include <coil/loop.h>
#include <coil/wait_for.h>

#include "base/check.h"
#include "base/list.h"
#include "base/time.h"
#include "cancel_depth.h"
#include "finishers.h"

/* ---- Tasks ------------------------------------------------------------ */

#define NO_WINNER SIZE_MAX

struct race;

struct racer {
    struct coil_handle handle;
    struct race *race; /* NULL: the task has no callback of ours */
    struct coil_task *task;
};

struct race {
    struct coil_custom custom;
    size_t n, left, winner;
    bool cancelled;
    bool cancelling; /* cancel_all() runs now */
    bool end_now;    /* cancelled a second time: do not wait for the others */
    struct coil_handle deferred_call; /* cancels the racers in the next pass */
    bool deferred;
    struct racer *racers; /* n of them */
};

static struct race *race_of(struct coil_future *f)
{
    return COILI_CONTAINER(f, struct race, custom.future);
}

/* The error of a race without a winner: the first other than -ECANCELED. */
static struct coil_future *better_error(struct coil_future *first,
                                        struct coil_future *failed)
{
    return !first || (coil_future_cancelled(first) &&
                      !coil_future_cancelled(failed))
               ? failed
               : first;
}

/* Complete the race. It may be freed when this returns. */
static void finish(struct race *r)
{
    struct coil_future *f = &r->custom.future, *failed = NULL;
    coil_handle_cancel(&r->deferred_call);
    for (size_t i = 0; i < r->n; i++) {
        struct racer *it = &r->racers[i];
        struct coil_future *task = coil_task_future(it->task);
        if (it->race)
            coil_future_remove_done_callback(task, &it->handle);
        coil_task_quiet(it->task);
        if (coil_future_failed(task))
            failed = better_error(failed, task);
    }
    if (r->winner != NO_WINNER) {
        /* If the winner returned a permit, the race takes it. */
        coil_future_error(coil_task_future(r->racers[r->winner].task));
        coil_future_set_int(f, (int64_t)r->winner);
    } else if (r->cancelled) {
        coil_future_set_error(f, -ECANCELED);
    } else {
        coil_future_set_error_detail(f, coil_future_error(failed),
                                     coil_future_detail(failed));
    }
}

/*
 * Cancel all tasks. One of them may await the task that awaits this race. Then
 * the request comes back to race_cancel(), and the race must not wait for that
 * task, which waits for the race. Returns false if all have ended already.
 */
static bool cancel_all(struct race *r)
{
    bool any = false;
    r->cancelling = true;
    for (size_t i = 0; i < r->n; i++)
        any |= coil_task_cancel(r->racers[i].task);
    r->cancelling = false;
    return any;
}

/* Racer i has ended. The first success is the winner. */
static void note_end(struct race *r, size_t i)
{
    r->left--;
    if (r->winner == NO_WINNER &&
        !coil_future_failed(coil_task_future(r->racers[i].task)))
        r->winner = i;
}

static void racer_done(void *arg)
{
    struct racer *it = arg;
    struct race *r = it->race;
    bool won_before = r->winner != NO_WINNER;
    it->race = NULL;
    note_end(r, (size_t)(it - r->racers));
    if (r->winner != NO_WINNER && !won_before && r->left > 0)
        cancel_all(r);
    if (r->left == 0 || r->end_now)
        finish(r);
}

/* Count the tasks that are done; add callbacks to the others. */
static void race_start(struct coil_future *f)
{
    struct race *r = race_of(f);
    for (size_t i = 0; i < r->n; i++)
        if (coil_task_done(r->racers[i].task))
            note_end(r, i);
    if (r->winner != NO_WINNER && r->left > 0)
        cancel_all(r);
    if (r->left == 0) {
        finish(r);
        return;
    }
    for (size_t i = 0; i < r->n; i++) {
        struct racer *it = &r->racers[i];
        if (coil_task_done(it->task))
            continue;
        it->race = r;
        coil_future_add_done_callback(coil_task_future(it->task), &it->handle,
                                      racer_done, it);
    }
}

static void cancel_racers(void *arg)
{
    struct race *r = arg;
    r->deferred = false;
    r->end_now |= r->cancelled;
    /* If all have ended already, the race ends as if it was not cancelled. */
    r->cancelled |= cancel_all(r);
    if (r->end_now)
        finish(r);
}

static void race_cancel(struct coil_future *f)
{
    struct race *r = race_of(f);
    if (r->cancelling || r->deferred) {
        r->end_now = true;
    } else {
        r->deferred = true; /* until cancel_racers() runs */
        coili_cancel_nested(&r->deferred_call, cancel_racers, r);
    }
}

static void race_free(struct coil_future *f)
{
    struct race *r = race_of(f);
    for (size_t i = 0; i < r->n; i++)
        coil_future_unref(coil_task_future(r->racers[i].task));
    coil_free(r->racers, r->n * sizeof *r->racers);
    coil_custom_free(f);
}

/* The race allocates all that it needs here, and fails only here. */
struct coil_future *coil_race(struct coil_task *const *tasks, size_t n)
{
    coili_check_array(tasks, n, "coil_race", "tasks");
    static const struct coil_future_class cls = {
        .name = "race",
        .start = race_start,
        .cancel = race_cancel,
        .free = race_free,
    };
    if (n == 0)
        return coil_future_from_error(-EINVAL, 0);
    struct race *r = coil_custom_new(&cls, sizeof *r);
    if (!r)
        return coil_future_from_nomem();
    if (n <= SIZE_MAX / sizeof *r->racers)
        r->racers = coil_alloc(n * sizeof *r->racers);
    if (!r->racers) {
        coil_custom_free(r);
        return coil_future_from_nomem();
    }
    memset(r->racers, 0, n * sizeof *r->racers);
    r->n = r->left = n;
    r->winner = NO_WINNER;
    for (size_t i = 0; i < n; i++) { /* tasks may outlive their spawner */
        r->racers[i].task = tasks[i];
        coil_future_ref(coil_task_future(tasks[i]));
    }
    return &r->custom.future;
}

/* ---- Staggered: calls begin one after the other ----------------------- */

struct attempt {
    struct coili_finisher finisher;
    struct attempt *next;
    size_t number;
};

struct staggered_race {
    struct coil_coro coro;
    coil_source_fn *source;
    void *arg;
    int64_t delay_ns;
    struct coil_race_log *log;
    struct attempt *first, **end; /* all that began, oldest first */
    struct attempt *newest, *winner;
    size_t begun, running;
    bool exhausted;
    int64_t due; /* when the next call begins */
    struct coili_finishers list;
    int err;
};

/* Begin the next call of the source, if there is one, and set `due`. */
static int begin_next(struct staggered_race *my)
{
    struct attempt *it = coil_alloc(sizeof *it);
    if (!it)
        return -ENOMEM;
    struct coil_future *call = my->source(my->arg);
    if (!call) {
        coil_free(it, sizeof *it);
        my->exhausted = true;
        return 0;
    }
    it->number = my->begun++;
    it->next = NULL;
    *my->end = my->newest = it;
    my->end = &it->next;
    my->running++;
    coili_finisher_watch(&it->finisher, &my->list, coil_spawn(call));
    my->due = coili_deadline(coil_now(), my->delay_ns);
    return 0;
}

static bool next_is_due(const struct staggered_race *my)
{
    return !my->exhausted && my->due != COIL_NEVER && coil_now() >= my->due;
}

static struct coil_future *future_of(const struct attempt *it)
{
    return coil_task_future(it->finisher.task);
}

/*
 * The first attempt that has succeeded, of those that ended since the last
 * call; NULL: none. If the newest attempt has failed, the next one is due.
 */
static struct attempt *find_winner(struct staggered_race *my)
{
    while (my->list.first) {
        struct attempt *it = COILI_CONTAINER(coili_finishers_pop(&my->list),
                                             struct attempt, finisher);
        my->running--;
        if (!coil_future_failed(future_of(it)))
            return it;
        if (it == my->newest)
            my->due = INT64_MIN;
    }
    return NULL;
}

/* Done when an attempt has ended, or when the next is due (-ETIMEDOUT). */
static struct coil_future *next_event(struct staggered_race *my)
{
    struct coil_future *more = coili_finishers_wait(&my->list);
    if (my->exhausted || my->due == COIL_NEVER)
        return more;
    return coil_wait_for(more, my->due - coil_now());
}

static struct coil_future *final_error(struct staggered_race *my)
{
    struct coil_future *failed = NULL;
    for (struct attempt *it = my->first; it; it = it->next)
        failed = better_error(failed, future_of(it));
    return failed;
}

/*
 * An attempt that succeeded when the race was over, or in the same pass as the
 * winner, has lost and counts as cancelled. coil_future_error() is called only
 * for attempts that failed: for another one it would take the permit.
 */
static int error_of(const struct staggered_race *my, const struct attempt *it)
{
    if (coil_future_failed(future_of(it)))
        return coil_future_error(future_of(it));
    return it == my->winner ? 0 : -ECANCELED;
}

static void write_log(struct staggered_race *my)
{
    struct coil_race_log *log = my->log;
    log->begun = my->begun;
    log->winner = my->winner ? my->winner->number : NO_WINNER;
    for (struct attempt *it = my->first; log->errors && it; it = it->next)
        if (it->number < log->errors_n)
            log->errors[it->number] = error_of(my, it);
}

static void free_attempts(struct staggered_race *my)
{
    while (my->first) {
        struct attempt *it = my->first;
        my->first = it->next;
        coil_task_quiet(it->finisher.task);
        coili_finisher_unwatch(&it->finisher);
        coil_free(it, sizeof *it);
    }
}

/* `due` is INT64_MIN at first: the first call begins at once. */
static void staggered_race(struct coil_coro *co)
{
    COIL_ASYNC(staggered_race, my) {
        my->end = &my->first;
        my->due = INT64_MIN;
        for (;;) {
            my->winner = find_winner(my);
            if (my->winner)
                COIL_RETURN_AWAIT(my->winner->finisher.task);
            if (next_is_due(my)) {
                my->err = begin_next(my);
                if (my->err)
                    COIL_FAIL(my->err);
                continue;
            }
            if (my->exhausted && my->running == 0)
                break;
            COIL_TRY_AWAIT(my->err, next_event(my));
            coili_finishers_end_wait(&my->list);
            if (my->err && my->err != -ETIMEDOUT)
                COIL_FAIL(my->err);
        }
        struct coil_future *failed = final_error(my);
        if (!failed)
            COIL_FAIL(-EINVAL);
        COIL_FAIL_WITH(coil_future_error(failed), coil_future_detail(failed));

    COIL_FINALLY;
        coili_finishers_end_wait(&my->list);
        if (my->log)
            write_log(my);
        free_attempts(my);
    }
}

struct coil_future *coil_staggered_race(int64_t delay_ns,
                                        struct coil_race_log *log,
                                        coil_source_fn *source, void *arg)
{
    coili_check(source, "coil_staggered_race: source is NULL");
    return COIL_CALL(staggered_race, .source = source, .arg = arg,
                     .delay_ns = delay_ns, .log = log);
}
