// SPDX-License-Identifier: MIT
/*
 * Laws 1 and 2. What stands in a comment is fine: coili_secret().
 */
#include <coil.h>
#include <coil/lock.h>
#include <errno.h>
#include <liburing.h>
#include <zlib.h>
#include "base/list.h"
#include "example.h"
#include "base/alloc.h"
#include "core/example.h"
#include "wait/finishers.h"

static const char text[] = "coili_secret";
extern void coili_secret(void); /* declared by hand */
