// SPDX-License-Identifier: MIT
/*
 * Two generators play ping-pong: what one says is sent to the other.
 *
 *     ./build/samples/13_ping_pong
 *
 * Prints "serve -> ping", "ping -> pong", "pong -> ping", "ping -> pong".
 */
#include <coil.h>
#include <stdio.h>

struct player {
    struct coil_coro coro;
    const char *says, *heard;
};

static void player(struct coil_coro *co)
{
    ASYNC(player, my) {
        for (;;) {
            YIELD_TO(my->heard, my->says);
            printf("%s -> %s\n", my->heard, my->says);
        }
    }
}

struct rally {
    struct coil_coro coro;
    struct coil_future *ping, *pong;
    const char *ball;
    int i;
    bool more;
};

static void rally(struct coil_coro *co)
{
    ASYNC(rally, my) {
        my->ping = CALL(player, .says = "ping");
        my->pong = CALL(player, .says = "pong");
        NEXT(my->more, my->ball, my->ping); /* up to its first YIELD_TO */
        NEXT(my->more, my->ball, my->pong);
        my->ball = "serve";
        for (my->i = 0; my->i < 2; my->i++) {
            SEND(my->ping, my->ball);
            NEXT(my->more, my->ball, my->ping);
            SEND(my->pong, my->ball);
            NEXT(my->more, my->ball, my->pong);
        }
        CLOSE(my->ping); /* so would the end of the block */
        CLOSE(my->pong);
    }
}

int main(void)
{
    int err = RUN(rally);
    if (err < 0)
        fprintf(stderr, "13_ping_pong: %s\n", coil_strerror(err));
    return err < 0;
}
