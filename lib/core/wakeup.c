// SPDX-License-Identifier: MIT
/*
 * alert.c: a call that a signal handler may ask for.
 *
 * Those that were raised are a chain to which anybody adds at its head, and
 * which the loop takes as a whole: so there is nothing that a handler could
 * interrupt half done, and no ABA. `raised` says that an alert stands in the
 * chain. The loop takes that back before it makes the call; who raises it later
 * is for one more call.
 *
 * The chain is taken where the loop takes the calls of other threads: whenever
 * it has looked at the ring, in which the descriptor for waking is polled.
 */
#include <coil/wakeup.h>

#include <errno.h>

#include <coil/loop.h>

#include "runtime.h"

void coil_alert_init(struct coil_alert *alert, coil_call_fn *fn, void *arg)
{
    *alert = (struct coil_alert){ .loop = coili_need_loop() };
    alert->call.fn = fn;
    alert->call.arg = arg;
}

void coil_alert_raise(struct coil_alert *alert)
{
    struct coil_loop *loop = alert->loop;
    if (__atomic_exchange_n(&alert->raised, 1, __ATOMIC_SEQ_CST))
        return;
    struct coil_alert *head = __atomic_load_n(&loop->alerts, __ATOMIC_RELAXED);
    do {
        alert->next = head;
    } while (!__atomic_compare_exchange_n(&loop->alerts, &head, alert, true,
                                          __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
    int saved = errno;
    loop->table->wake(loop->backend);
    errno = saved;
}

void coili_take_alerts(struct coil_loop *loop)
{
    struct coil_alert *first = __atomic_exchange_n(&loop->alerts, NULL,
                                                   __ATOMIC_SEQ_CST);
    /* The newest stands first. */
    struct coil_alert *alert = NULL;
    while (first) {
        struct coil_alert *next = first->next;
        first->next = alert;
        alert = first;
        first = next;
    }
    while (alert) {
        struct coil_alert *next = alert->next; /* before it is raised again */
        __atomic_exchange_n(&alert->raised, 0, __ATOMIC_SEQ_CST);
        if (alert->call.where == WHERE_NOWHERE)
            coil_call_soon(&alert->call, alert->call.fn, alert->call.arg);
        alert = next;
    }
}

void coil_alert_fini(struct coil_alert *alert)
{
    coili_take_alerts(alert->loop);
    coil_handle_cancel(&alert->call);
}
