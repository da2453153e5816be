// SPDX-License-Identifier: MIT
#ifndef COILI_CANCEL_SCOPE_H
#define COILI_CANCEL_SCOPE_H

/*
 * cancel_scope.h: requests that a block makes of its own coroutine.
 *
 * A deadline, a scope and a group ask their coroutine to end its block early,
 * and take the request back when the block is over. This header offers the
 * request, and the questions whose request it is that strikes. `on` of a
 * record that asks is written by cancel_scope.c, and by group.c when the group
 * is over; `entry` by the file that opens the block, from coili_cancels_met().
 * A struct coili_cancel_scope is touched by cancel_scope.c alone.
 */

#include <coil/cancel_scope.h>

#include "scope.h"

/* scope.on: the block has asked; its request was taken back. */
enum { STRUCK = 1, STRUCK_AND_OVER };

/* The block of a WITHIN or a CANCEL_SCOPE. */
struct coili_cancel_scope {
    struct coili_scope scope;
    struct coil_coro *co;
    struct coil_handle handle;        /* at its deadline */
    struct coil_cancel_scope *object; /* NULL: of WITHIN */
};

/* ---- Asking, and taking back ------------------------------------------ */

/* For scope.entry: the number of requests that have struck the coroutine. */
uint16_t coili_cancels_met(const struct coil_coro *co);

/* A block asks its coroutine to end. */
void coili_strike(struct coil_coro *co, struct coili_scope *scope,
                  enum coil_cancel_reason reason);

/*
 * A block is over: take back its request. True if the block has failed by that
 * request alone.
 */
bool coili_take_back(struct coil_coro *co, struct coili_scope *scope);

/*
 * An await in FINALLY was struck: take back the requests of all open blocks
 * that have struck. True if there was no other request.
 */
bool coili_cancel_scopes_struck(struct coil_coro *co);

/* ---- Whose request it is ---------------------------------------------- */

/* True if the pending request is that of this block, and of no other. */
bool coili_struck_alone(const struct coil_coro *co,
                        const struct coili_scope *scope);

/* True if the pending request is that of a block of this coroutine. */
bool coili_is_late(const struct coil_coro *co);

/* The number of requests that are not of the coroutine's own blocks. */
unsigned coili_cancels_of_others(const struct coil_coro *co);

/* ---- The end of a block ----------------------------------------------- */

/* A WITHIN or CANCEL_SCOPE is over. */
void coili_cancel_scope_over(struct coil_coro *co,
                             struct coili_cancel_scope *s);

/* The record leaves the list of its coroutine. */
void coili_cancel_scope_gone(struct coili_cancel_scope *scope);

#endif
