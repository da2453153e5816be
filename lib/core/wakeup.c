// SPDX-License-Identifier: MIT
/*
 * wakeup.c: a callback that a signal handler may request.
 *
 * The wakeups that were sent are a chain, loop->wakeups. Any thread and any
 * signal handler adds to its head, by compare and exchange; the loop takes the
 * whole chain at once. So a handler that interrupts either of them finds a
 * chain that is complete, and there is no ABA problem.
 *
 * `sent` is 1 while a wakeup is in the chain. The loop clears it before it
 * queues the call: if the wakeup is sent after that, there is one more call.
 *
 * The loop takes the chain where it takes the calls of other threads: after the
 * backend's wait() has returned, which wake() makes it do.
 */
#include <coil/wakeup.h>

#include "wakeup.h"

#include <errno.h>

#include <coil/loop.h>

#include "backend/backend.h"
#include "base/check.h"
#include "coroutine.h"
#include "loop.h"

void coil_wakeup_init(struct coil_wakeup *wakeup, coil_call_fn *fn, void *arg)
{
    coili_check(wakeup, "coil_wakeup_init: wakeup is NULL");
    coili_check(fn, "coil_wakeup_init: fn is NULL");
    coili_check_lent(wakeup, COILI_HANDLE_ON_STACK);
    *wakeup = (struct coil_wakeup){ .loop = coili_need_loop() };
    wakeup->call.fn = fn;
    wakeup->call.arg = arg;
}

/*
 * Async-signal-safe: no lock, no allocation, errno restored. The exchange of
 * `sent` is sequentially consistent, so the call sees what was written before.
 */
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

/* Queue the calls, in the order in which the wakeups were sent. */
void coili_take_wakeups(struct coil_loop *loop)
{
    struct coil_wakeup *first = __atomic_exchange_n(&loop->wakeups, NULL,
                                                    __ATOMIC_SEQ_CST);
    /* The last one that was sent is the first in the chain: turn it round. */
    struct coil_wakeup *wakeup = NULL;
    while (first) {
        struct coil_wakeup *next = first->next;
        first->next = wakeup;
        wakeup = first;
        first = next;
    }
    while (wakeup) {
        struct coil_wakeup *next = wakeup->next; /* valid until `sent` is 0 */
        __atomic_exchange_n(&wakeup->sent, 0, __ATOMIC_SEQ_CST);
        if (wakeup->call.where == WHERE_NOWHERE)
            coil_call_soon(&wakeup->call, wakeup->call.fn, wakeup->call.arg);
        wakeup = next;
    }
}

void coil_wakeup_fini(struct coil_wakeup *wakeup)
{
    if (!wakeup->loop)
        return; /* zero: FINALLY runs also if the body has not begun */
    coili_take_wakeups(wakeup->loop);
    coil_handle_cancel(&wakeup->call);
}
