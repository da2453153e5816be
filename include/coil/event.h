// SPDX-License-Identifier: MIT
#ifndef COIL_EVENT_H
#define COIL_EVENT_H

/*
 * event.h: a flag that tasks wait for.
 */

#include <coil/api.h>
#include <coil/waiters.h>

COIL_BEGIN_DECLS

/*
 * In your memory; begun by its _init, and there is nothing to free. The fields
 * are private.
 */
struct coil_event {
    struct coil_waiters waiters;
    bool set;
};

/* Not set. Source: asyncio.Event */
COIL_API void coil_event_init(struct coil_event *event);

/*
 * Wait until it is set.
 *
 * Result    0
 * Errors    -ECANCELED, -ENOMEM
 * Lifetime  lends `event` until it is done
 * Source    asyncio Event.wait()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_event_wait(struct coil_event *event);

/*
 * Set it: everybody who waits now goes on, also if it is cleared before they
 * run.
 */
COIL_API void coil_event_set(struct coil_event *event);
COIL_API void coil_event_clear(struct coil_event *event);
COIL_API bool coil_event_is_set(const struct coil_event *event);

COIL_END_DECLS

#endif
