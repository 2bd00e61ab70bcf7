/* mpx_cells: rate-limit states (GCRA theoretical arrival times) by key, in a fixed block of memory that many threads and
 * processes share. No locks; each state is valid after a kill at any instruction. Pure: the clock is a parameter.
 *
 * Layout: buckets of 1024 bytes: one control cell and 63 cells of 16 bytes. They are so large that chance fills none long
 * before the table is full: with six tenths of all cells in use one newcomer in 5,000 finds its bucket full, with seven
 * tenths one in 160 (buckets of two cache lines, seven cells: one in seven, one in four). A key's search begins where its
 * hash says, so that who has been here before is mostly found in the first line. A cell is a 64-bit
 * fingerprint and a 64-bit arrival time, changed only together, by one 16-byte compare-and-swap: a charge can never hit a
 * cell that has come to belong to another key, so a limit is exact. Bucket and fingerprint come from a 128-bit keyed hash:
 * two keys share a cell only if 64 bits of fingerprint and the bucket's bits agree, and nobody can search for such a pair
 * without the segment's secret.
 *
 * A cell whose arrival time has passed says the same as no cell, and is what a new key takes. Taking is announced in the
 * bucket's control cell and completed by whoever comes by, so that two takers of one key cannot both get a cell, and a taker
 * that dies leaves nothing behind. When all 63 are in use the caller is told.
 */
#ifndef MPX_CELLS_H
#define MPX_CELLS_H

#include "mpx_rate.h"

typedef struct mpx_cells mpx_cells_t;

#define MPX_CELLS_SECRET 16

/* Make an empty table in memory, which is 64-byte aligned and zeroed.
 * @param secret random bytes @return the table (at the start of memory), or NULL when size is too small for one bucket */
mpx_cells_t *mpx_cells_format(void *memory, apr_size_t size, const unsigned char secret[MPX_CELLS_SECRET]);

/* The table that mpx_cells_format() has made there. */
mpx_cells_t *mpx_cells_attach(void *memory);

/* Decide and charge. @param key any bytes: policy and subject @param now nanoseconds, monotonic
 * @return 1, or 0 when there is no room for a new key (*out says allowed, nothing is charged) */
int mpx_cells_charge(mpx_cells_t *cells, const void *key, apr_size_t len, const mpx_rate_t *rate, apr_uint64_t now,
                     apr_uint64_t cost, mpx_gcra_t *out);

/* What mpx_cells_charge() would decide, without charging. */
void mpx_cells_look(mpx_cells_t *cells, const void *key, apr_size_t len, const mpx_rate_t *rate, apr_uint64_t now,
                    apr_uint64_t cost, mpx_gcra_t *out);

/* Take back a charge of this cost, made just before: a request that another limit then refused. */
void mpx_cells_refund(mpx_cells_t *cells, const void *key, apr_size_t len, const mpx_rate_t *rate, apr_uint64_t cost);

apr_uint64_t mpx_cells_capacity(const mpx_cells_t *cells);
/* Cells in use at now; walks the table (for metrics and tests). */
apr_uint64_t mpx_cells_used(const mpx_cells_t *cells, apr_uint64_t now);

#endif
