// SPDX-License-Identifier: MIT
/*
 * Two tasks take turns. SPAWN begins nothing: a task's first step stands in
 * line behind what is ready, and sleep(0) goes to the end of that line.
 *
 *     ./build/samples/02_tasks
 *
 * Prints "both are spawned", "foo", "bar", "foo again", "bar again".
 */
#include <coil.h>
#include <stdio.h>

struct speak {
    struct coil_coro coro;
    const char *name;
};

static void speak(struct coil_coro *co)
{
    ASYNC(speak, my) {
        printf("%s\n", my->name);
        AWAIT(coil_sleep(0));
        printf("%s again\n", my->name);
    }
}

struct turns {
    struct coil_coro coro;
    struct coil_task *foo, *bar; /* good until this coroutine is over */
};

static void turns(struct coil_coro *co)
{
    ASYNC(turns, my) {
        my->foo = SPAWN(speak, .name = "foo");
        my->bar = SPAWN(speak, .name = "bar");
        printf("both are spawned\n");
        AWAIT(my->foo);
        AWAIT(my->bar);
    }
}

int main(void)
{
    int err = RUN(turns);
    if (err < 0)
        fprintf(stderr, "02_tasks: %s\n", coil_strerror(err));
    return err < 0;
}
