// SPDX-License-Identifier: MIT
/*
 * wakeup.c: a call that a signal handler may ask for.
 *
 * Those that were sent are a chain to which anybody adds at its head, and
 * which the loop takes as a whole: so there is nothing that a handler could
 * interrupt half done, and no ABA. `sent` says that a wakeup stands in the
 * chain. The loop takes that back before it makes the call; who raises it later
 * is for one more call.
 *
 * The chain is taken where the loop takes the calls of other threads: whenever
 * wait() has returned, which wake() makes it do.
 */
#include <coil/wakeup.h>

#include "wakeup.h"

#include <errno.h>

#include <coil/loop.h>

#include "backend/backend.h"
#include "loop.h"

void coil_wakeup_init(struct coil_wakeup *wakeup, coil_call_fn *fn, void *arg)
{
    *wakeup = (struct coil_wakeup){ .loop = coili_need_loop() };
    wakeup->call.fn = fn;
    wakeup->call.arg = arg;
}

void coil_wakeup_send(struct coil_wakeup *wakeup)
{
    struct coil_loop *loop = wakeup->loop;
    if (__atomic_exchange_n(&wakeup->sent, 1, __ATOMIC_SEQ_CST))
        return;
    struct coil_wakeup *head = __atomic_load_n(&loop->wakeups,
                                               __ATOMIC_RELAXED);
    do {
        wakeup->next = head;
    } while (!__atomic_compare_exchange_n(&loop->wakeups, &head, wakeup, true,
                                          __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
    int saved = errno;
    loop->table->wake(loop->backend);
    errno = saved;
}

void coili_take_wakeups(struct coil_loop *loop)
{
    struct coil_wakeup *first = __atomic_exchange_n(&loop->wakeups, NULL,
                                                    __ATOMIC_SEQ_CST);
    /* The newest stands first. */
    struct coil_wakeup *wakeup = NULL;
    while (first) {
        struct coil_wakeup *next = first->next;
        first->next = wakeup;
        wakeup = first;
        first = next;
    }
    while (wakeup) {
        struct coil_wakeup *next = wakeup->next; /* before it is sent again */
        __atomic_exchange_n(&wakeup->sent, 0, __ATOMIC_SEQ_CST);
        if (wakeup->call.where == WHERE_NOWHERE)
            coil_call_soon(&wakeup->call, wakeup->call.fn, wakeup->call.arg);
        wakeup = next;
    }
}

void coil_wakeup_fini(struct coil_wakeup *wakeup)
{
    coili_take_wakeups(wakeup->loop);
    coil_handle_cancel(&wakeup->call);
}
