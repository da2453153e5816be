// SPDX-License-Identifier: MIT
#ifndef COIL_PORT_H
#define COIL_PORT_H

/*
 * port.h: where other threads reach a loop, as long as it is there.
 *
 * coil_call_soon_threadsafe wants a loop that is not closed meanwhile. A port
 * is counted and outlives its loop: what is posted to a loop that has closed
 * is refused. Executors, promises and channels stand on it, and so can yours.
 *
 *     struct coil_port *port = coil_port_ref(coil_port_here());
 *     ...
 *     coil_port_post(port, &my->post, arrived);      // in any thread
 */

#include <coil/api.h>
#include <coil/loop.h>

COIL_BEGIN_DECLS

struct coil_port;
struct coil_post;

typedef void coil_post_fn(struct coil_post *post);

/* What is posted: mostly a field of yours. The fields are private. */
struct coil_post {
    struct coil_post *next;
    coil_post_fn *fn;
};

/*
 * The port of this thread's loop; made at first need, with malloc().
 *
 * Result    the same one each time; NULL without memory
 * Lifetime  views: until the loop has closed. Who keeps it longer takes a
 *           reference
 */
COIL_API struct coil_port *coil_port_here(void);

/*
 * One more reference, one less. From any thread.
 *
 * Lifetime  shares
 */
COIL_API struct coil_port *coil_port_ref(struct coil_port *port);
COIL_API void coil_port_unref(struct coil_port *port);

/* True in the thread of the port's loop, until that has closed. */
COIL_API bool coil_port_is_here(const struct coil_port *port);

/*
 * Have `fn(post)` called in the loop's thread, from any thread, in the order of
 * posting. The loop is woken once for all that is posted meanwhile.
 *
 * What is posted before the loop has closed is called, if need be as its last
 * act: ask coil_loop_closing() before you begin something there.
 *
 * Result    false if the loop has closed: `fn` is not going to be called
 * Lifetime  lends `post` until `fn` is called
 * Source    asyncio loop.call_soon_threadsafe()
 */
COIL_API COIL_NODISCARD bool coil_port_post(struct coil_port *port,
                                            struct coil_post *post,
                                            coil_post_fn *fn);

/*
 * The loop is not closed before what is expected was posted, and waits without
 * a limit if all else is over. Each coil_port_expect() wants one
 * coil_port_met(), mostly where the post arrives. In the loop's thread.
 */
COIL_API void coil_port_expect(struct coil_port *port);
COIL_API void coil_port_met(struct coil_port *port);

COIL_END_DECLS

#endif
