// SPDX-License-Identifier: MIT
/*
 * link.c: done callbacks that get the future as an argument.
 *
 * A link holds a reference, so the future still exists when the loop calls the
 * callback. A plain done callback does not get the future, which may have been
 * freed by then.
 */
#include <coil/link.h>

#include "base/check.h"

static void call_handler(void *arg)
{
    struct coil_link *link = arg;
    struct coil_future *done = link->future;
    coil_link_fn *fn = coil_future_failed(done) ? link->failed : link->ok;
    link->future = NULL; /* the callback may use the link again */
    if (fn)
        fn(done, link->arg);
    coil_future_unref(done);
}

void coil_link_add(struct coil_link *link, struct coil_future *future,
                   coil_link_fn *ok, coil_link_fn *failed, void *arg)
{
    coili_check(link, "coil_link_add: link is NULL");
    coili_check(future, "coil_link_add: future is NULL");
    coil_future_add_done_callback(future, &link->handle, call_handler, link);
    link->future = coil_future_ref(future);
    link->ok = ok;
    link->failed = failed;
    link->arg = arg;
}

bool coil_link_remove(struct coil_link *link)
{
    coili_check(link, "coil_link_remove: link is NULL");
    struct coil_future *future = link->future;
    if (!future)
        return false;
    link->future = NULL;
    coil_future_remove_done_callback(future, &link->handle);
    coil_future_unref(future);
    return true;
}
