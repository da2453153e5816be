// SPDX-License-Identifier: MIT
/* Law 7: a file that may open descriptors, and does not move them. */
int example_accept(void)
{
    return COILI_OP_ACCEPT;
}
