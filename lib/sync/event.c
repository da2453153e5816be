// SPDX-License-Identifier: MIT
/*
 * event.c: a flag that tasks wait for.
 *
 * coil_event_set() completes the futures of all waiters. So they succeed even
 * if the flag is cleared again before their tasks run.
 */
#include <coil/event.h>

#include "base/check.h"

void coil_event_init(struct coil_event *event)
{
    coili_check(event, "coil_event_init: event is NULL");
    coil_waiters_init(&event->waiters);
    event->set = false;
}

static bool is_set(void *arg)
{
    return ((struct coil_event *)arg)->set;
}

struct coil_future *coil_event_wait(struct coil_event *event)
{
    return coil_waiters_wait(&event->waiters, "event", is_set, event);
}

void coil_event_set(struct coil_event *event)
{
    event->set = true;
    while (coil_waiters_wake(&event->waiters))
        ;
}

void coil_event_clear(struct coil_event *event)
{
    event->set = false;
}

bool coil_event_is_set(const struct coil_event *event)
{
    return event->set;
}
