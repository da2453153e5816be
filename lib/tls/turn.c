// SPDX-License-Identifier: MIT
/*
 * turn.c: one costly step of a handshake in a pass.
 *
 * A step takes a millisecond or more. So that a thousand of them do not keep a
 * loop busy in one pass, those that are ready wait in a line, and each pass lets
 * one go on. There is one line for a thread, as there is one loop; when the last
 * one leaves the line, nothing of it is left in the loop.
 */
#include "turn.h"

#include <errno.h>

#include <coil/future.h>
#include <coil/loop.h>

#include "base/list.h"

struct turn {
    struct coil_custom custom;
    struct coili_list link;
};

static _Thread_local struct coili_list turns;
static _Thread_local struct coil_handle next_turn;

static void grant_turn(void *arg)
{
    (void)arg;
    struct coili_list *first = coili_list_first(&turns);
    struct turn *turn = COILI_CONTAINER(first, struct turn, link);
    coili_list_remove(first);
    if (!coili_list_empty(&turns))
        coil_call_soon(&next_turn, grant_turn, NULL);
    coil_future_set_int(&turn->custom.future, 0);
}

static void turn_start(struct coil_future *f)
{
    if (!turns.next)
        coili_list_init(&turns);
    if (coili_list_empty(&turns))
        coil_call_soon(&next_turn, grant_turn, NULL);
    coili_list_append(&turns,
                      &COILI_CONTAINER(f, struct turn, custom.future)->link);
}

static void turn_cancel(struct coil_future *f)
{
    coili_list_remove(&COILI_CONTAINER(f, struct turn, custom.future)->link);
    if (coili_list_empty(&turns))
        coil_handle_cancel(&next_turn);
    coil_future_set_error(f, -ECANCELED);
}

struct coil_future *coili_tls_turn(void)
{
    static const struct coil_future_class cls = {
        .name = "turn of a TLS handshake",
        .start = turn_start,
        .cancel = turn_cancel,
    };
    struct turn *turn = coil_custom_new(&cls, sizeof *turn);
    return turn ? &turn->custom.future : coil_future_from_nomem();
}
