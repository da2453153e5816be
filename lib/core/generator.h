// SPDX-License-Identifier: MIT
#ifndef COILI_GENERATOR_H
#define COILI_GENERATOR_H

/*
 * generator.h: iterations, for the files that end a body or cancel a task.
 *
 * A consumer has a struct iter_scope for each generator that it runs, a
 * generator that delegates a struct from_scope. Both are written by generator.c
 * alone. task.c reads `generator`, in order to walk over the frames of a task.
 */

#include "scope.h"

struct iter_scope {
    struct coili_scope scope;
    struct coil_coro *generator;
    struct coili_nursery *nursery; /* in which it closes */
    struct coil_coro *leaf; /* what runs: itself, or the innermost inner one */
};

/* In a generator that delegates. */
struct from_scope {
    struct coili_scope scope;
    struct coil_coro *inner;
    struct iter_scope *root; /* the iteration of all of them */
};

/*
 * Close the generators of loops that were left with a block, or (NULL) with the
 * body. One that NEXT runs is closed only with the GROUP in which it was begun.
 */
void coili_close_iterations(struct coil_coro *co,
                            const struct coili_scope *block);

/*
 * Cancel the generators that are closing in a nursery: their FINALLY is cut
 * short. Only a request does that, not the end of the body.
 */
void coili_cancel_closing(struct coil_coro *co, const struct coili_nursery *n,
                          enum coil_cancel_reason reason);

/* True if `consumer` has left the generator `co`, or closes it. */
bool coili_is_closed_by(const struct coil_coro *co,
                        const struct coil_coro *consumer);

/* A generator that was left early has run its FINALLY. */
void coili_generator_ended(struct coil_loop *loop, struct coil_coro *co);

#endif
