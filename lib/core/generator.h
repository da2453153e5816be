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
 * Close those that were left: of a block that is over, or (NULL) all of them.
 * One run by NEXT is left only with the GROUP in which it was begun.
 */
void coili_close_iterations(struct coil_coro *co,
                            const struct coili_scope *block);

/* Those that are closing run their FINALLY: cut short only on request. */
void coili_cancel_closing(struct coil_coro *co, const struct coili_nursery *n,
                          enum coil_cancel_reason reason);

/* It is a generator that `consumer` has left, or closes. */
bool coili_is_closed_by(const struct coil_coro *co,
                        const struct coil_coro *consumer);

/* One whose consumer left early has run its FINALLY. */
void coili_generator_ended(struct coil_loop *loop, struct coil_coro *co);

#endif
