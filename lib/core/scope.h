// SPDX-License-Identifier: MIT
#ifndef COILI_SCOPE_H
#define COILI_SCOPE_H

/*
 * scope.h: the records of what belongs to a coroutine, and its children.
 *
 * co->scopes is a list of records, newest first, each of which begins with a
 * struct coili_scope. This header offers the list, the nurseries in which
 * children stand, and the record of a HOLD. The other records are declared by
 * the files whose idea they are.
 *
 * The list changes by coili_scope_push() and coili_scope_pop(); records whose
 * memory is not of this list (SCOPE_GROUP: the user's; SCOPE_DROPPED: in the
 * head of a frame) by coili_scope_link() and coili_scope_unlink(). FOR_SCOPES
 * walks over the list. Which file writes the fields:
 *
 *     kind     coili_scope_push(), group.c, coroutine.c; fixed afterwards
 *     on       the file whose record it is
 *     stage    block.c, and group.c for its own
 *     entry    cancel_scope.c, group.c, generator.c, each for its own
 *     id       the same, and block.c
 *     nursery  tasks, running: task.c, scope.c; running also generator.c, since
 *              a generator that closes counts as a child. awaited: the file
 *              that makes the owner wait (scope.c, coroutine.c, group.c), and
 *              task.c, which makes it wait no longer. asked: scope.c
 */

#include <coil/coroutine.h>
#include <coil/task.h>

#include "base/list.h"

/* The children of one coroutine, or (owner NULL) those of the loop. */
struct coili_nursery {
    struct coili_list tasks; /* of handles, done ones too */
    struct coil_coro *owner;
    uint32_t running;
    uint8_t awaited; /* the owner waits until none runs */
    uint8_t asked;   /* tasks may have F_ASKED */
    uint16_t group;  /* that of a struct group_scope */
};

enum scope_kind {
    SCOPE_CHILDREN,
    SCOPE_CANCEL,
    SCOPE_GROUP,
    SCOPE_HOLD,
    SCOPE_ITER,
    SCOPE_FROM,
    SCOPE_GIVE,
    SCOPE_NAME,
    SCOPE_CONTEXT,
    SCOPE_TRY,
    SCOPE_DROPPED /* in the head of the frame that was dropped */
};

/* A block is one whose id is a landing (block.h). */
struct coili_scope {
    struct coili_scope *next;
    unsigned kind : 8;
    unsigned on : 4;     /* SCOPE_CANCEL, SCOPE_GROUP: STRUCK (cancel_scope.h);
                            SCOPE_HOLD: acquired; SCOPE_ITER: closing;
                            SCOPE_TRY: it is a TRY_ALL */
    unsigned stage : 4;  /* of a block: enum block_stage */
    unsigned entry : 16; /* requests there were before this one */
    int32_t id;          /* an iteration: its line; a block: its landing */
};

/* The record of a group begins in the same way: group.h. */
struct children_scope {
    struct coili_scope scope;
    struct coili_nursery nursery;
};

/* `release` is called at the end of the coroutine, or of its WITH. */
struct hold_scope {
    struct coili_scope scope;
    void *object;
    coil_call_fn *release;
};

/* A record of zero bytes in front of the list; NULL without memory. */
void *coili_scope_push(struct coil_coro *co, enum scope_kind kind, size_t size);

/* Remove a record, give back what it has and its memory. */
void coili_scope_pop(struct coil_coro *co, struct coili_scope *scope);

/* Put a record in front of the list; take one out of it. */
static inline void coili_scope_link(struct coil_coro *co,
                                    struct coili_scope *scope)
{
    scope->next = co->scopes;
    co->scopes = scope;
}

void coili_scope_unlink(struct coil_coro *co, struct coili_scope *scope);

/*
 * A loop over `first` and all older records. In FOR_SCOPES_REMOVABLE the body
 * may remove `s`: the next record is read before the body runs, which costs two
 * instructions that a search need not spend.
 */
#define FOR_SCOPES(s, first) \
    for (struct coili_scope *s = (first); s; s = s->next)
#define FOR_SCOPES_REMOVABLE(s, first) \
    for (struct coili_scope *s = (first), *s##_next; \
         s && ((s##_next = s->next), true); s = s##_next)

/* The newest record of a kind; or NULL. */
static inline struct coili_scope *coili_scope_find(const struct coil_coro *co,
                                                   enum scope_kind kind)
{
    FOR_SCOPES(s, co->scopes)
        if (s->kind == kind)
            return s;
    return NULL;
}

/* ---- Children --------------------------------------------------------- */

/*
 * True if the record has a nursery. False for a group whose block is over: its
 * record is in the list with id 0.
 */
static inline bool coili_has_nursery(const struct coili_scope *s)
{
    return s->kind == SCOPE_CHILDREN || (s->kind == SCOPE_GROUP && s->id);
}

/*
 * The nursery in which a coroutine spawns now: of its innermost GROUP, else its
 * own, which is made at first need. NULL: there is none.
 */
struct coili_nursery *coili_nursery_find(const struct coil_coro *co);
struct coili_nursery *coili_nursery_new(struct coil_coro *co);

static inline struct coili_nursery *coili_nursery_need(struct coil_coro *co)
{
    struct coili_scope *s = co->scopes;
    if (s && coili_has_nursery(s))
        return &((struct children_scope *)s)->nursery;
    struct coili_nursery *n = coili_nursery_find(co);
    return n ? n : coili_nursery_new(co);
}

/* The nursery behind `n` of a coroutine, newest first; NULL: the first one. */
struct coili_nursery *coili_nursery_next(const struct coil_coro *co,
                                         const struct coili_nursery *n);

/* From `link` on, the first task of a nursery that is not done; or NULL. */
struct coil_task *coili_nursery_alive(const struct coili_nursery *n,
                                      const struct coili_list *link);

/*
 * Cancel all tasks of a nursery, each once: a task that another one of the
 * nursery awaits is asked through that await, or for itself, but not twice.
 */
void coili_nursery_cancel(struct coili_nursery *n,
                          enum coil_cancel_reason reason);

/*
 * The same for those tasks that were not asked yet (F_ASKED). A second request
 * would cut short the FINALLY that runs because of the first.
 */
void coili_nursery_ask(struct coili_nursery *n, enum coil_cancel_reason reason);

/* The owner waits until no child runs, and none does. */
void coili_last_child_ended(struct coil_loop *loop, struct coili_nursery *n);

/* One of the children has ended. */
static inline void coili_child_ended(struct coil_loop *loop,
                                     struct coili_nursery *n)
{
    if (--n->running == 0 && n->awaited)
        coili_last_child_ended(loop, n);
}

/* Release the handles of all children that are done. */
void coili_nursery_release(struct coili_nursery *n);

#endif
