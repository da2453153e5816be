// SPDX-License-Identifier: MIT
/*
 * Giving up: a time-out and a cancellation arrive as an error at the await
 * where the task stands. Its FINALLY runs, and may await, before anybody is
 * told that it has ended.
 *
 *     ./build/samples/08_cancel
 *
 * Prints how "slow" begins, cleans up and has timed out, and then how
 * "unwanted" begins, cleans up and was cancelled.
 */
#include <coil.h>
#include <errno.h>
#include <stdio.h>

struct work {
    struct coil_coro coro;
    const char *name;
};

static void work(struct coil_coro *co)
{
    ASYNC(work, my) {
        printf("%s: begins\n", my->name);
        AWAIT(coil_sleep(COIL_SECONDS(3600)));
        printf("%s: never printed\n", my->name);

    FINALLY; /* on return, on error, on cancel */
        AWAIT(coil_sleep(COIL_MS(20)));
        printf("%s: has cleaned up\n", my->name);
    }
}

struct story {
    struct coil_coro coro;
    struct coil_task *task;
    int err;
};

static void story(struct coil_coro *co)
{
    ASYNC(story, my) {
        TRY_AWAIT(my->err,
                  coil_wait_for(CALL(work, .name = "slow"), COIL_MS(100)));
        if (my->err != -ETIMEDOUT)
            FAIL(my->err < 0 ? my->err : -EPROTO);
        printf("timed out\n");

        my->task = SPAWN(work, .name = "unwanted");
        AWAIT(coil_sleep(COIL_MS(50)));
        coil_task_cancel(my->task); /* a request: now it must end */
        TRY_AWAIT(my->err, my->task);
        printf("cancelled: %s\n", coil_strerror(my->err));
    }
}

int main(void)
{
    int err = RUN(story);
    if (err < 0)
        fprintf(stderr, "08_cancel: %s\n", coil_strerror(err));
    return err < 0;
}
