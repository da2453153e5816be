// SPDX-License-Identifier: MIT
/*
 * Cancellation: the await where the task waits fails. A time-out cancels, too.
 * FINALLY runs, and may await, before the task has ended.
 *
 *     ./build/samples/08_cancel
 *
 * Prints how "slow" begins, cleans up and has timed out, and then how
 * "unwanted" begins, cleans up and is cancelled.
 */
#include <coil.h>
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
        TRY(my->err) WITHIN(COIL_MS(100)) AWAIT(CALL(work, .name = "slow"));
        printf("slow: %s\n", coil_strerror(my->err));

        my->task = SPAWN(work, .name = "unwanted");
        AWAIT(coil_sleep(COIL_MS(50)));
        coil_task_cancel(my->task); /* a request: the task ends by itself */
        TRY(my->err) AWAIT(my->task);
        printf("unwanted: %s\n", coil_strerror(my->err));
    }
}

int main(void)
{
    int err = RUN(story);
    if (err < 0)
        fprintf(stderr, "08_cancel: %s\n", coil_strerror(err));
    return err < 0;
}
