/* mpx_counters: usage counted by finished requests, in a block of memory that is a mapped file, so that it outlives every
 * process. Many threads and processes add; one flusher at a time (the caller sees to that) carries what was counted to the
 * database, exactly once. Valid after a kill at any instruction. Pure: clock, process ids and randomness are parameters.
 *
 * A counter is a record (tenant, minute, and what the caller puts into a payload) and the number of times that it was seen.
 * Life of a cell: free -> being written (by a process that may die: its pid is in the state word) -> in use -> closed by the
 * flusher once all of it is flushed and its minute is over (or room is scarce) -> free. Each use of a cell has a
 * number of its own, never used again; a range (from, upto] of a use's count is announced in the cell before it is
 * sent and settled after the commit, so that after a crash between the two the same range is sent again under the
 * same name, which the database knows. The count word carries the cell's generation: an addition can never hit
 * another record's use of the cell.
 */
#ifndef MPX_COUNTERS_H
#define MPX_COUNTERS_H

#include <apr_tables.h>
#include <apr_time.h>

#include "mpx_uuid.h"

typedef struct mpx_counters mpx_counters_t;

#define MPX_COUNTERS_SECRET 16
#define MPX_COUNTERS_PAYLOAD_MAX 896 /* bytes */

/* Make an empty file's content. @param memory zeroed, page-aligned, size bytes @param id names this file for ever
 * @return NULL when size is too small */
mpx_counters_t *mpx_counters_format(void *memory, apr_size_t size, const mpx_uuid_t *id,
                                    const unsigned char secret[MPX_COUNTERS_SECRET]);

/* Take up what a file holds. @return NULL, and what is wrong with it in *wrong (static English) */
mpx_counters_t *mpx_counters_attach(void *memory, apr_size_t size, const char **wrong);

const mpx_uuid_t *mpx_counters_id(const mpx_counters_t *counters);

/* Count. Lock-free; for any thread. @param now wall clock, microseconds: names the minute
 * @param pid of this process @param n how many @return 1, or 0 when there is no room for a new record or len is too great */
int mpx_counters_add(mpx_counters_t *counters, const mpx_uuid_t *tenant, apr_time_t now, int pid, const void *payload,
                     apr_size_t len, apr_uint64_t n);

typedef struct mpx_counter_range {
    apr_uint64_t cell;    /* index */
    apr_uint64_t use;     /* number of this use of the cell, unique in the file */
    apr_uint64_t upto;    /* the count that the range ends with: with use, the range's name */
    apr_uint64_t n;       /* how many it stands for */
    apr_time_t time;      /* of the last of them when it was announced; within the record's minute */
    mpx_uuid_t tenant;
    const void *payload;  /* in the file: valid until settled */
    apr_size_t len;
} mpx_counter_range_t;

/* Announce what is to be flushed: ranges announced before and not settled come again, unchanged. The caller makes the
 * memory durable (msync) before it sends them. Flusher only.
 * @param ranges  array of mpx_counter_range_t, appended to, at most max */
void mpx_counters_announce(mpx_counters_t *counters, int max, apr_array_header_t *ranges);

/* It is committed. Flusher only. */
void mpx_counters_settle(mpx_counters_t *counters, const mpx_counter_range_t *range);

/* Free the cells all of whose count is settled and whose minute is over, and those that a dead process was writing. With
 * more than half of the cells taken a minute's end is not waited for: to keep a record's cell until then saves work, and one
 * tenant's many different records must not take the room from all others. Flusher only.
 * @param alive tells whether a process lives */
void mpx_counters_release(mpx_counters_t *counters, apr_time_t now, int (*alive)(int pid));

typedef struct mpx_counters_stat {
    apr_uint64_t capacity, used, pending; /* cells; pending: counted and not settled */
} mpx_counters_stat_t;
void mpx_counters_stat(const mpx_counters_t *counters, mpx_counters_stat_t *stat);

#endif
