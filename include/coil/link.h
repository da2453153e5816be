// SPDX-License-Identifier: MIT
#ifndef COIL_LINK_H
#define COIL_LINK_H

/*
 * link.h: a call when a future is done, one for a value and one for an error.
 *
 * A plain call of the loop's, without a coroutine: what is to wait for anything
 * is better off with then.h.
 */

#include <coil/api.h>
#include <coil/future.h>

COIL_BEGIN_DECLS

typedef void coil_link_fn(struct coil_future *done, void *arg);

/* In your memory; zero it before its first use. The fields are private. */
struct coil_link {
    struct coil_handle handle;
    struct coil_future *future;
    coil_link_fn *ok, *failed;
    void *arg;
};

/*
 * Have ok(done, arg) or failed(done, arg) called by the loop once the future is
 * done; at once (that is, soon) if it is done already. Either may be NULL.
 * Calls are made in the order of registration. Of a task: its
 * coil_task_future().
 *
 * Lifetime  lends `link` until it was called or undone; shares `future`
 * Source    gevent Greenlet.link(), link_value(), link_exception()
 */
COIL_API void coil_link_add(struct coil_link *link, struct coil_future *future,
                            coil_link_fn *ok, coil_link_fn *failed, void *arg);

/*
 * Withdraw it.
 *
 * Result    false if the call was made already, or the link never was
 * Source    gevent Greenlet.unlink()
 */
COIL_API bool coil_link_remove(struct coil_link *link);

COIL_END_DECLS

#endif
