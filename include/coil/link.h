// SPDX-License-Identifier: MIT
#ifndef COIL_LINK_H
#define COIL_LINK_H

/*
 * link.h: callbacks for the end of a future, one for a value and one for an
 * error.
 *
 *     coil_link_add(&c->link, coil_task_future(task), succeeded, failed, c);
 *
 * The loop calls them without a coroutine, so they cannot await. For handlers
 * that await use then.h.
 */

#include <coil/api.h>
#include <coil/future.h>

COIL_BEGIN_DECLS

/* A callback of a link. `done` is the future, which has ended. */
typedef void coil_link_fn(struct coil_future *done, void *arg);

/* In your memory; zero it before its first use. The fields are private. */
struct coil_link {
    struct coil_handle handle;
    struct coil_future *future;
    coil_link_fn *ok, *failed;
    void *arg;
};

/*
 * Have the loop call `ok(done, arg)` when the future has a value, or
 * `failed(done, arg)` when it has failed; in the next pass if it is done
 * already. Either may be NULL: then it is not called. The callbacks of a future
 * are called in the order of registration. For a task pass its
 * coil_task_future(). Aborts if `link` is in use.
 *
 * Lifetime  the caller lends `link` until its callback is called or the link is
 *           removed; in the callback it may be used again. coil shares `future`
 *           until then
 * Source    gevent Greenlet.link(), link_value(), link_exception()
 */
COIL_API void coil_link_add(struct coil_link *link, struct coil_future *future,
                            coil_link_fn *ok, coil_link_fn *failed, void *arg);

/*
 * Remove a link whose callback has not been called yet.
 *
 * Result    false if there is nothing to remove: the callback was called
 *           already, or the link was not added
 * Source    gevent Greenlet.unlink()
 */
COIL_API bool coil_link_remove(struct coil_link *link);

COIL_END_DECLS

#endif
