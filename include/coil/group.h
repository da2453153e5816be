// SPDX-License-Identifier: MIT
#ifndef COIL_GROUP_H
#define COIL_GROUP_H

/*
 * group.h: tasks that succeed together or end together.
 *
 *     struct crawl {
 *         struct coil_coro coro;
 *         struct coil_group group;
 *         ...
 *     };
 *
 *     ASYNC(crawl, my) {
 *         GROUP(&my->group);              // the rest of this block
 *         SPAWN(fetch, .url = a);
 *         SPAWN(fetch, .url = b);
 *     }                                   // both have ended here
 *
 * Every child of this coroutine is in the group. The end of the block waits for
 * them. The first that fails cancels the others and what is left of the block,
 * and its error is that of the coroutine; those of the others are reported, if
 * nobody fetches them. So are those of all if it is the block that fails
 * first. A child that was cancelled has not failed.
 *
 * To wait for them is the block's last await: a cancellation that comes then
 * takes the place of what it has returned, also by RETURN_TAKEN.
 *
 * A group is a coroutine: one in another is one coroutine that calls another.
 */

#include <coil/api.h>
#include <coil/coroutine.h>

COIL_BEGIN_DECLS

/* In your memory; zero bytes are one that nobody has entered. Private. */
struct coil_group {
    struct coil_coro *inside;
    int32_t error;
    uint32_t detail;
    bool cancelled, asked, over;
};

/*
 * Run a coroutine or any future in the group; for who is not its coroutine: its
 * children, or calls of the loop. What it borrows must outlive the group.
 *
 *     coil_group_spawn(my->group, CALL(fetch, .url = c));
 *
 * Result    its handle; one that has failed with COIL_ECLOSED if the group
 *           takes no more: not entered yet, ending with an error or cancelled,
 *           or over; with -ENOMEM without memory
 * Lifetime  takes `future`, which is dropped if the group is closed. The handle
 *           views: until the group is over
 * Source    asyncio TaskGroup.create_task()
 */
COIL_API struct coil_task *coil_group_spawn(struct coil_group *group,
                                            struct coil_future *future);

/*
 * The same without a handle: it leaves the group when it ends.
 *
 * Errors    COIL_ECLOSED, -ENOMEM
 */
COIL_API int coil_group_start(struct coil_group *group,
                              struct coil_future *future);

/*
 * Cancel all that is in the group, and the rest of its block; before it is
 * entered, too. That is no failure: the block ends with what it has returned,
 * or with the integer 0. Once is enough.
 *
 * Source    asyncio TaskGroup.cancel(); trio nursery.cancel_scope.cancel()
 */
COIL_API void coil_group_cancel(struct coil_group *group);

COIL_END_DECLS

#ifndef __cplusplus

/*
 * The rest of this block is the body of the group. Aborts in FINALLY, if the
 * group was entered before, and if this coroutine has one already. Without
 * memory the block ends with -ENOMEM.
 *
 * Lifetime  lends `group` until the block and its children are over
 * Source    asyncio.TaskGroup, trio.open_nursery()
 */
#define COIL_GROUP(group) \
    do { \
        if (coili_group_enter(co, (group))) \
            goto coil_again; \
    } while (0)

#ifndef COIL_NO_SHORT_NAMES
#define GROUP(group) COIL_GROUP(group)
#endif

COIL_API bool coili_group_enter(struct coil_coro *co, struct coil_group *group);

#endif

#endif
