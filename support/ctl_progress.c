/* ctl_progress.c: a progress bar on a terminal; nothing anywhere else. */
#include "ctl_import.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define STEP apr_time_from_msec(100)
#define BAR 30 /* characters */

void ctl_progress_begin(ctl_progress_t *p, apr_uint64_t total)
{
    memset(p, 0, sizeof *p);
    p->shown = isatty(STDERR_FILENO);
    p->total = total;
    p->begun = apr_time_now();
}

static void eta(double seconds, char *out, size_t size)
{
    if (seconds < 3600) {
        snprintf(out, size, "%d:%02d", (int)seconds / 60, (int)seconds % 60);
    }
    else {
        snprintf(out, size, "%d:%02d:%02d", (int)(seconds / 3600), (int)seconds / 60 % 60, (int)seconds % 60);
    }
}

void ctl_progress_show(ctl_progress_t *p)
{
    apr_time_t now;
    double seconds, share;
    char bar[BAR + 1], left[32] = "-";

    if (!p->shown || (now = apr_time_now()) - p->last < STEP) {
        return;
    }
    p->last = now;
    p->drawn = 1;
    seconds = (double)(now - p->begun) / 1e6 + 1e-6;
    if (p->total == 0) {
        fprintf(stderr, "\r%.1f MB, %.0f lines/s\033[K", (double)p->bytes / 1e6, (double)p->lines / seconds);
        return;
    }
    share = p->bytes < p->total ? (double)p->bytes / (double)p->total : 1;
    memset(bar, ' ', BAR);
    memset(bar, '#', (size_t)(share * BAR));
    bar[BAR] = '\0';
    if (share > 0) {
        eta(seconds / share - seconds, left, sizeof left);
    }
    fprintf(stderr, "\r[%s] %3.0f %% of %.1f MB, %.0f lines/s, %s left\033[K", bar, share * 100, (double)p->total / 1e6,
            (double)p->lines / seconds, left);
}

void ctl_progress_hide(ctl_progress_t *p)
{
    if (p->drawn) {
        fputs("\r\033[K", stderr);
        p->drawn = 0;
    }
}
