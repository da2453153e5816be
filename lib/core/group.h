// SPDX-License-Identifier: MIT
#ifndef COILI_GROUP_H
#define COILI_GROUP_H

/*
 * group.h: a group of tasks, for the files that open, fail and end it.
 *
 * A struct coil_group, the user's memory, is a struct group_scope inside. Its
 * fields are written by group.c alone, but for those of the record and of the
 * nursery: see scope.h. task.c tells the group that a child has failed, block.c
 * that its block has come to the closing brace.
 */

#include <coil/group.h>

#include "scope.h"

/* id is 0 when its block is over. */
struct group_scope {
    struct coili_scope scope;
    struct coili_nursery nursery; /* owner: whose scope it is; or NULL */
    int32_t error;                /* of the first child that failed */
    uint32_t detail;
    bool cancelled; /* by coil_group_cancel() */
    bool asked;     /* its tasks were asked to end */
    bool over;      /* it was entered, and its block is over */
    bool struck;    /* a request has struck the wait at its brace */
};

_Static_assert(sizeof(struct group_scope) == sizeof(struct coil_group),
               "group.h knows how large a group is");
_Static_assert(offsetof(struct group_scope, nursery) ==
                   offsetof(struct children_scope, nursery),
               "coili_nursery_need() takes both for a struct children_scope");

/* A child of a group has failed; if it is the first, so has the group. */
void coili_group_child_failed(struct coili_nursery *n, struct coil_coro *child);

/* There was no memory for a task that this coroutine spawns. */
void coili_group_spawn_failed(const struct coil_coro *co);

/* At the brace of a group: true if it waits for its children. */
bool coili_group_waits(struct coil_coro *co, struct group_scope *g);

/* True if a coroutine waits at the brace of a group that was `struck`. */
bool coili_group_was_struck(const struct coil_coro *co);

/* All tasks have ended: decide what the block ends with. */
void coili_group_over(struct coil_coro *co, struct group_scope *g);

#endif
