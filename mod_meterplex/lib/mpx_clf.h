/* mpx_clf: one line of an access log in httpd's own formats: common, combined, vhost_combined
 * (mod_log_config). Undoes httpd's escapes (\" \\ \n \t ... \xhh); what would not be UTF-8 keeps its \xhh. Pure.
 */
#ifndef MPX_CLF_H
#define MPX_CLF_H

#include <apr_pools.h>
#include <apr_time.h>

typedef enum mpx_clf_format { MPX_CLF_COMMON, MPX_CLF_COMBINED, MPX_CLF_VHOST_COMBINED } mpx_clf_format_e;

typedef struct mpx_clf_line {
    const char *vhost;               /* vhost_combined: "name:port"; else NULL */
    const char *client, *user;       /* user: NULL for "-", "" for the \"\" of an empty name; may hold spaces */
    apr_time_t time;
    const char *request;             /* the whole request line, unescaped */
    const char *method, *path, *protocol; /* of a well-formed request line, else NULL ("-", a TLS hello, ...) */
    int status;
    apr_int64_t bytes;               /* 0 for "-" */
    const char *referer, *user_agent; /* NULL for "-" or absent */
    int cut;                          /* the last quoted field has no closing quote: the line was cut there */
} mpx_clf_line_t;

/* Read one line without its newline. @return NULL, or an English phrase saying what is wrong */
const char *mpx_clf_parse(apr_pool_t *pool, mpx_clf_format_e format, const char *line, apr_size_t len,
                          mpx_clf_line_t *out);

#endif
