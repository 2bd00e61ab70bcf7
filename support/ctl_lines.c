/* ctl_lines.c: the lines of a file of any size, through one buffer. */
#include "ctl_import.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_strings.h>

struct ctl_lines {
    apr_pool_t *pool; /* holds this struct */
    const char *name;
    int fd;
    apr_uint64_t size;
    apr_uint64_t offset;   /* in the file, of buffer[begin] */
    apr_uint64_t number;   /* of the last line given */
    apr_size_t begin, end; /* what of the buffer is not yet given */
    int at_end;
    char buffer[CTL_LINE_MAX + 65536];
};

typedef struct magic {
    const char *bytes;
    apr_size_t len;
    const char *cat;
} magic_t;

static const magic_t magics[] = {
    { "\x1f\x8b", 2, "zcat" },
    { "BZh", 3, "bzcat" },
    { "\xfd"
      "7zXZ",
      5, "xzcat" },
    { "\x28\xb5\x2f\xfd", 4, "zstdcat" },
};

/* Read once. @return bytes, 0 at the end, -1 on failure or interrupt */
static ssize_t fill(ctl_lines_t *lines)
{
    ssize_t n;

    if (lines->begin > 0) {
        memmove(lines->buffer, lines->buffer + lines->begin, lines->end - lines->begin);
        lines->end -= lines->begin;
        lines->begin = 0;
    }
    do {
        n = read(lines->fd, lines->buffer + lines->end, sizeof lines->buffer - lines->end);
    } while (n < 0 && errno == EINTR && !ctl_import_stop);
    if (n == 0) {
        lines->at_end = 1;
    }
    if (n > 0) {
        lines->end += (apr_size_t)n;
    }
    return n;
}

static const char *compressed(apr_pool_t *pool, const ctl_lines_t *lines)
{
    apr_size_t i;
    for (i = 0; i < sizeof magics / sizeof *magics; i++) {
        if (lines->end >= magics[i].len && memcmp(lines->buffer, magics[i].bytes, magics[i].len) == 0) {
            return lines->fd == STDIN_FILENO
                ? apr_psprintf(pool, "%s is compressed: pass it through %s first", lines->name, magics[i].cat)
                : apr_psprintf(pool, "%s is compressed: %s %s | meterplexctl import ... -", lines->name, magics[i].cat,
                               lines->name);
        }
    }
    return NULL;
}

ctl_lines_t *ctl_lines_open(apr_pool_t *pool, const char *path, const char **error)
{
    int is_stdin = strcmp(path, "-") == 0;
    apr_pool_t *own;
    ctl_lines_t *lines;
    struct stat st;
    ssize_t n;

    apr_pool_create(&own, pool);
    lines = apr_palloc(own, sizeof *lines);
    memset(lines, 0, offsetof(ctl_lines_t, buffer));
    lines->pool = own;
    lines->name = is_stdin ? "standard input" : path;
    lines->fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    *error = NULL;
    if (lines->fd < 0 || fstat(lines->fd, &st) != 0) {
        *error = apr_psprintf(pool, "%s cannot be read: %s", lines->name, strerror(errno));
    }
    else {
        lines->size = S_ISREG(st.st_mode) ? (apr_uint64_t)st.st_size : 0;
        do {
            n = fill(lines);
        } while (n > 0 && lines->end < 8); /* a pipe may give its first bytes one by one */
        *error = n < 0 ? apr_psprintf(pool, "%s cannot be read: %s", lines->name, strerror(errno)) : compressed(pool, lines);
    }
    if (*error) {
        ctl_lines_close(lines);
        return NULL;
    }
    return lines;
}

void ctl_lines_close(ctl_lines_t *lines)
{
    if (lines->fd > STDERR_FILENO) {
        close(lines->fd);
    }
    apr_pool_destroy(lines->pool);
}

const char *ctl_lines_name(const ctl_lines_t *lines)
{
    return lines->name;
}

apr_uint64_t ctl_lines_size(const ctl_lines_t *lines)
{
    return lines->size;
}

/* Pass over the rest of a line that does not fit. @return bytes passed over */
static apr_uint64_t skip_line(ctl_lines_t *lines)
{
    apr_uint64_t skipped = 0;
    const char *newline;

    for (;;) {
        newline = memchr(lines->buffer + lines->begin, '\n', lines->end - lines->begin);
        if (newline) {
            apr_size_t n = (apr_size_t)(newline + 1 - (lines->buffer + lines->begin));
            lines->begin += n;
            return skipped + n;
        }
        skipped += lines->end - lines->begin;
        lines->begin = lines->end;
        if (lines->at_end || fill(lines) < 0) {
            return skipped;
        }
    }
}

static void give(ctl_lines_t *lines, ctl_line_t *line, apr_size_t len)
{
    line->text = lines->buffer + lines->begin;
    line->len = len;
    line->offset = lines->offset;
    line->number = ++lines->number;
    line->too_long = line->unfinished = 0;
}

int ctl_lines_next(ctl_lines_t *lines, ctl_line_t *line, const char **error)
{
    apr_size_t looked = 0; /* bytes after begin that hold no newline */

    for (;;) {
        const char *from = lines->buffer + lines->begin;
        const char *newline = memchr(from + looked, '\n', lines->end - lines->begin - looked);

        if (ctl_import_stop) {
            return 0;
        }
        if (newline) {
            apr_size_t len = (apr_size_t)(newline - from);
            give(lines, line, len && newline[-1] == '\r' ? len - 1 : len);
            lines->begin += len + 1;
            lines->offset += len + 1;
            return 1;
        }
        looked = lines->end - lines->begin;
        if (looked > CTL_LINE_MAX) {
            give(lines, line, 0);
            line->too_long = 1;
            lines->offset += skip_line(lines);
            return 1;
        }
        if (lines->at_end) {
            if (looked == 0) {
                return 0;
            }
            give(lines, line, looked);
            line->unfinished = 1;
            lines->begin = lines->end;
            lines->offset += looked;
            return 1;
        }
        if (fill(lines) < 0 && !ctl_import_stop) {
            *error = strerror(errno);
            return -1;
        }
    }
}
