// SPDX-License-Identifier: MIT
// expect: AWAIT
/*
 * Programs that use these words for something else have the long ones.
 */
#define COIL_NO_SHORT_NAMES
#include <coil/cancel_scope.h>
#include <coil/coroutine.h>
#include <coil/group.h>
#include <coil/lock.h>
#include <coil/wait.h>
#include <stdlib.h>

enum word { CALL, CALL_IN, SPAWN, START, RUN, RUN_WITH, RUN_TO, RUN_WITH_TO,
            RUN_ON, RUN_ON_TO, COROUTINE, ASYNC, ASYNC_GIVES, FINALLY, RETURN,
            FAIL, FAIL_WITH, RETURN_AWAIT, AWAIT_TO, TRY_AWAIT, TRY_AWAIT_TO,
            JOIN, YIELD, YIELD_TO, YIELD_FROM, YIELD_FROM_TO, FOR_AWAIT, NEXT,
            TRY_NEXT, SEND, CLOSE, HOLD, HOLD_WITH, RELEASE, TRY, TRY_ALL,
            WITHIN, WITH, USING, LEAVE, GROUP, CANCEL_SCOPE };

struct numbers {
    struct coil_coro coro;
    struct coil_future *next;
    int n;
};

void numbers(struct coil_coro *co);
void numbers(struct coil_coro *co)
{
    COIL_ASYNC(numbers, my) {
        COIL_YIELD(1);
        COIL_YIELD_TO(my->n, 1);
        COIL_YIELD_FROM(COIL_CALL(numbers));
        COIL_YIELD_FROM_TO(my->n, COIL_CALL(numbers));
        COIL_NEXT(my->n, my->n, my->next);
        COIL_TRY_NEXT(my->n, my->n, my->n, my->next);
        COIL_SEND(my->next, 1);
        COIL_CLOSE(my->next);
    }
}

struct plain {
    struct coil_coro coro;
    struct coil_lock *lock;
    struct numbers numbers;
    struct coil_group group;
    struct coil_cancel_scope scope;
    int n, err;
};

void plain(struct coil_coro *co);
void plain(struct coil_coro *co)
{
    COIL_ASYNC_GIVES(plain, my, NULL) {
        COIL_HOLD(my->lock);
        COIL_HOLD_WITH(my, free, coil_sleep(1));
        COIL_AWAIT(COIL_CALL(numbers));
        COIL_AWAIT_TO(my->n, COIL_SPAWN(numbers));
        COIL_TRY_AWAIT(my->err, coil_sleep(1));
        COIL_TRY_AWAIT_TO(my->err, my->n, coil_sleep(1));
        COIL_TRY(my->err) COIL_TRY_ALL(my->n) COIL_WITHIN(COIL_SECONDS(1)) {
            COIL_WITH(my->lock) COIL_GROUP(&my->group)
                COIL_CANCEL_SCOPE(&my->scope)
                    COIL_LEAVE;
            COIL_USING(my, free, coil_sleep(1))
                COIL_AWAIT(coil_sleep(1));
        }
        COIL_FOR_AWAIT(my->n, COIL_CALL_IN(&my->numbers, numbers))
            continue;
        my->err = COIL_START(numbers);
        COIL_JOIN();
        COIL_RELEASE(my->lock);
        if (my->n)
            COIL_FAIL(-1);
        if (my->n)
            COIL_FAIL_WITH(-1, 2);
        if (my->n)
            COIL_RETURN(NULL);
        COIL_RETURN_AWAIT(coil_sleep(1));

    COIL_FINALLY;
#ifdef TRAP
        AWAIT(coil_sleep(1));
#endif
    }
}

COIL_COROUTINE(tick)
{
    COIL_ASYNC(tick) {
        COIL_AWAIT(coil_sleep(1));
    }
}

int main(void)
{
    int n;
    return COIL_RUN(numbers) < 0 || COIL_RUN_WITH(NULL, numbers) < 0 ||
           COIL_RUN_TO(n, numbers) < 0 ||
           COIL_RUN_WITH_TO(NULL, n, numbers) < 0 || COIL_RUN(tick) < 0;
}
