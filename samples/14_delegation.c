// SPDX-License-Identifier: MIT
/*
 * Delegation: a reader's items come through a wrapper, and what is sent goes
 * through one to a writer.
 *
 *     ./build/samples/14_delegation
 *
 * Prints "<< 0" to "<< 3" and ">>  0" to ">>  3".
 */
#include <coil.h>
#include <stdio.h>

struct reader {
    struct coil_coro coro;
    char text[16];
    int i;
};

static void reader(struct coil_coro *co)
{
    ASYNC(reader, my) {
        for (my->i = 0; my->i < 4; my->i++) {
            snprintf(my->text, sizeof my->text, "<< %d", my->i);
            YIELD(my->text);
        }
    }
}

struct writer {
    struct coil_coro coro;
    int word;
};

static void writer(struct coil_coro *co)
{
    ASYNC(writer, my) {
        for (;; printf(">>  %d\n", my->word))
            YIELD_TO(my->word, NULL);
    }
}

struct wrapper {
    struct coil_coro coro;
    struct coil_future *inner; /* taken: it begins and ends with this one */
};

static void wrapper(struct coil_coro *co)
{
    ASYNC(wrapper, my) {
        YIELD_FROM(my->inner);
    }
}

struct both {
    struct coil_coro coro;
    struct coil_future *to_writer;
    const char *text;
    int i;
};

static void both(struct coil_coro *co)
{
    ASYNC(both, my) {
        FOR_AWAIT(my->text, CALL(wrapper, .inner = CALL(reader)))
            puts(my->text);

        my->to_writer = CALL(wrapper, .inner = CALL(writer));
        FOR_AWAIT(my->text, my->to_writer) {
            if (my->i == 4)
                break;
            SEND(my->to_writer, my->i++);
        }
    }
}

int main(void)
{
    return RUN(both) < 0;
}
