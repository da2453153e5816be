// SPDX-License-Identifier: MIT
/* A header of the core, which may know base/ and backend/, and no other. */
#include "base/heap.h"
#include "backend/backend.h"
#include "sync/example.h"
#include "backend/uring.h"
void coili_secret(void);
