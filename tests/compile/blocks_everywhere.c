// SPDX-License-Identifier: MIT
// expect: duplicate case value
/*
 * A block stands where a statement may, and words of different names share a
 * line. Without a warning; but for WITH and USING, which are one word.
 */
#include <coil/cancel_scope.h>
#include <coil/group.h>
#include <coil/lock.h>
#include <coil/semaphore.h>
#include <coil/task.h>
#include <coil/wait.h>

struct any {
    struct coil_coro coro;
    struct coil_lock lock;
    struct coil_semaphore sem;
    struct coil_group group;
    struct coil_cancel_scope scope;
    struct coil_task *task;
    int i, n, err, inner_err;
};

static void release(void *object)
{
    coil_semaphore_release(object);
}

struct numbers {
    struct coil_coro coro;
    struct coil_lock *lock;
    int i, err;
};

void numbers(struct coil_coro *co);
void numbers(struct coil_coro *co)
{
    ASYNC(numbers, my) {
        WITHIN(COIL_SECONDS(1)) WITH(my->lock) TRY(my->err)
            for (; my->i < 3; my->i++)
                YIELD(my->i);
    }
}

void any(struct coil_coro *co);
void any(struct coil_coro *co)
{
    ASYNC(any, my) {
        int local;
        coil_lock_init(&my->lock);
        coil_semaphore_init(&my->sem, 1);

        /* Two, three, all of them, and an await. */
        TRY(my->err) WITHIN(COIL_SECONDS(2)) AWAIT(coil_sleep(1));
        TRY(my->err) TRY_ALL(my->inner_err) WITH(&my->lock) {
            AWAIT(coil_sleep(1));
        }
        TRY(my->err) CANCEL_SCOPE(&my->scope) GROUP(&my->group) WITHIN(1) {
            my->task = SPAWN(any);
            AWAIT(my->task);
        }
        TRY(local) USING(&my->sem, release, coil_semaphore_acquire(&my->sem))
            AWAIT(coil_sleep(1));
        if (local)
            FAIL(local);

        /* Statements without braces. */
        WITHIN(1)
            AWAIT(coil_sleep(1));
        GROUP(&my->group)
            SPAWN(any);
        WITH(&my->sem)
            WITHIN(1)
                AWAIT(coil_sleep(1));
        TRY(my->err)
            FAIL(-1);
        CANCEL_SCOPE(&my->scope)
            RETURN_AWAIT(coil_sleep(1));

        /* In branches. */
        if (my->n == 1) {
            TRY(my->err) AWAIT(coil_sleep(1));
        } else if (my->n == 2) {
            WITHIN(1) {
                if (my->i)
                    LEAVE;
                else
                    AWAIT(coil_sleep(1));
            }
        } else {
            WITH(&my->lock) {
                TRY(my->err) {
                    AWAIT(coil_sleep(1));
                } /* no else may go astray */
            }
        }
        if (my->n == 3)
            WITHIN(1) AWAIT(coil_sleep(1));
        else
            TRY(my->err) AWAIT(coil_sleep(1));

        /* In loops, and loops in them. */
        for (my->i = 0; my->i < 3; my->i++)
            TRY(my->err) WITHIN(1) {
                while (my->n-- > 0) {
                    if (my->n == 5)
                        continue;
                    if (my->n == 3)
                        break;
                    if (my->n == 2)
                        LEAVE;
                    AWAIT(coil_sleep(1));
                }
                if (my->n)
                    continue;
                RETURN(my->n);
            }
        while (my->n-- > 0)
            WITH(&my->lock) AWAIT(coil_sleep(1));
        do
            GROUP(&my->group) START(any);
        while (my->n-- > 0);
        TRY(my->err) FOR_AWAIT(my->i, CALL(numbers)) WITH(&my->lock) {
            if (my->i == 3)
                FAIL_WITH(-1, 2);
        }
        FOR_AWAIT(my->i, CALL(numbers, .lock = &my->lock)) {
            WITHIN(1) {
                AWAIT(coil_sleep(1));
            }
        }
#ifdef TRAP
        WITH(&my->lock) USING(&my->sem, release, coil_sleep(1))
            AWAIT(coil_sleep(1));
#endif

    FINALLY;
        TRY(my->err) WITHIN(1) WITH(&my->lock) {
            AWAIT(coil_sleep(1));
            AWAIT(coil_sleep(1));
        }
    }
}
