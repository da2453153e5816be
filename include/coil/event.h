// SPDX-License-Identifier: MIT
#ifndef COIL_EVENT_H
#define COIL_EVENT_H

/*
 * event.h: a flag that tasks can wait for.
 *
 *     AWAIT(coil_event_wait(my->loaded));     // lent to any number of tasks
 *
 *     coil_event_set(&my->loaded);            // the owner wakes all of them
 */

#include <coil/api.h>
#include <coil/waiters.h>

COIL_BEGIN_DECLS

/*
 * In your memory; coil_event_init() prepares it, and there is nothing to free.
 * The fields are private.
 */
struct coil_event {
    struct coil_waiters waiters;
    bool set;
};

/* Make an event that is not set. Source: asyncio.Event */
COIL_API void coil_event_init(struct coil_event *event);

/*
 * Wait until the event is set. If it is set already, the await does not
 * suspend.
 *
 * Result    0
 * Errors    -ECANCELED, -ENOMEM
 * Lifetime  the caller lends `event` until the future is done
 * Source    asyncio Event.wait()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_event_wait(struct coil_event *event);

/*
 * Set the event. All tasks that wait now are woken, even if the event is
 * cleared before they run.
 *
 * Source    asyncio Event.set()
 */
COIL_API void coil_event_set(struct coil_event *event);

/* Clear the event: tasks wait again. Source: asyncio Event.clear() */
COIL_API void coil_event_clear(struct coil_event *event);

/* True if the event is set. Source: asyncio Event.is_set() */
COIL_API bool coil_event_is_set(const struct coil_event *event);

COIL_END_DECLS

#endif
