// SPDX-License-Identifier: MIT
#ifndef COILI_BLOCK_H
#define COILI_BLOCK_H

/*
 * block.h: open blocks of a coroutine, for the files that open or leave them.
 *
 * A block is a record in co->scopes whose id is a landing; `id` and `stage` are
 * its state. cancel_scope.c and group.c push the records of their blocks and
 * write the id; then block.c moves the stage on, but for BLOCK_DRAINS, which
 * group.c sets. A struct try_scope is touched by block.c alone.
 */

#include <coil/block.h>

#include "coroutine.h"
#include "scope.h"

/* Landings stand above all lines of a source: see COILI_LANDING(). */
#define LANDING_LEAST (COILI_LANDING_LINE + 1)

/* How far a block is; the table is in block.c. */
enum block_stage {
    BLOCK_ENTERED,
    BLOCK_PROBED, /* in debug mode */
    BLOCK_ACQUIRES,
    BLOCK_BODY,
    BLOCK_DRAINS
};

/* on: TRY_ALL. `error`: of a block in FINALLY, where errors do not jump. */
struct try_scope {
    struct coili_scope scope;
    int32_t error;
    uint32_t detail;
};

/* The innermost block that is open; or NULL. */
static inline struct coili_scope *coili_block_of(const struct coil_coro *co)
{
    FOR_SCOPES(s, co->scopes)
        if (s->id >= LANDING_LEAST)
            return s;
    return NULL;
}

/* In FINALLY: record the error of an await in the TRY around it. */
bool coili_try_notes(struct coil_coro *co, struct coili_end end);

/* From now on no open TRY_ALL takes the cancellation that strikes. */
void coili_try_none(struct coil_coro *co);

#endif
