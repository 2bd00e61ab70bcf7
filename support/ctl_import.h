/* ctl_import.h: what the files of `meterplexctl import` ask of each other: lines of a file in constant memory, and the
 * progress bar. */
#ifndef CTL_IMPORT_H
#define CTL_IMPORT_H

#include <signal.h>

#include "ctl.h"

#include "usage/usage_ingest.h"

#define CTL_LINE_MAX (1024 * 1024) /* bytes; a longer line is reported and passed over */

/* Set by SIGINT and SIGTERM: end after the batch in hand. */
extern volatile sig_atomic_t ctl_import_stop;

/* --- Lines (ctl_lines.c) ------------------------------------------------------------------------------------------ */

typedef struct ctl_lines ctl_lines_t;

typedef struct ctl_line {
    const char *text;    /* not NUL-terminated; valid until the next call */
    apr_size_t len;      /* without the line's end (LF, or CR LF) */
    apr_uint64_t offset; /* of its first byte in the file */
    apr_uint64_t number; /* from 1 */
    int too_long;        /* longer than CTL_LINE_MAX: it has no text */
    int unfinished;      /* the file ends without a line's end */
} ctl_line_t;

/* @param path a file, or "-" for standard input
 * @return NULL after setting *error to an English sentence: unreadable, a directory, compressed */
ctl_lines_t *ctl_lines_open(apr_pool_t *pool, const char *path, const char **error);
const char *ctl_lines_name(const ctl_lines_t *lines);
apr_uint64_t ctl_lines_size(const ctl_lines_t *lines); /* bytes, 0: not known */
/* @return 1; 0 at the end, or when ctl_import_stop is set; -1 after setting *error */
int ctl_lines_next(ctl_lines_t *lines, ctl_line_t *line, const char **error);
void ctl_lines_close(ctl_lines_t *lines); /* and frees it; standard input stays open */

/* --- The database (ctl_import_store.c) ------------------------------------------------------------------------------------ */

/* Store a batch of call->tenant in one transaction, all of one source and type. An event that is there already, however long
 * ago it came, counts as a duplicate. @param events not changed @return APR_SUCCESS, or MPX_FAILED with call->problem set */
apr_status_t ctl_import_store(mpx_call_t *call, const mpx_event_t *events, int n, usage_ingest_result_t *result);

/* --- Progress (ctl_progress.c) ------------------------------------------------------------------------------------ */

typedef struct ctl_progress {
    int shown;                 /* standard error is a terminal */
    int drawn;                 /* a bar stands on the line */
    apr_uint64_t total;        /* bytes of all files, 0: not known */
    apr_uint64_t lines, bytes; /* done */
    apr_time_t begun, last;
} ctl_progress_t;

void ctl_progress_begin(ctl_progress_t *p, apr_uint64_t total);
/* Draw, ten times a second at most. */
void ctl_progress_show(ctl_progress_t *p);
/* Take the bar away, before a message or at the end. */
void ctl_progress_hide(ctl_progress_t *p);

#endif
