// SPDX-License-Identifier: MIT
/* Law 1: this head says io_uring; "during" and "string" are fine. */
void (*submit)(struct io_uring_sqe *sqe);
