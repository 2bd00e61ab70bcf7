/* core_db_config.c: mod_dbd's directives, which are ours to read as they stand: it tells nobody what it has read. */
#include "core_private.h"

#include <stdlib.h>

#include "apr_strings.h"

#include "core_db.h"

#define CONNECT_TIMEOUT "2" /* s, the least that libpq takes; for mod_dbd's connections where nobody has said */

/* The last value of a directive of mod_dbd's outside of sections, as it stands; NULL when there is none. */
static const char *configured_args(const ap_directive_t *d, const char *name)
{
    const char *value = NULL;
    for (; d; d = d->next) {
        if (ap_cstr_casecmp(d->directive, name) == 0) {
            value = d->args;
        }
        else if (d->first_child && d->directive[0] == '<' && ap_cstr_casecmpn(d->directive, "<If", 3) == 0) {
            const char *inside = configured_args(d->first_child, name);
            value = inside ? inside : value;
        }
    }
    return value;
}

const char *core_db_configured(apr_pool_t *pool, const char *name)
{
    const char *args = configured_args(ap_conftree, name);
    return args ? ap_getword_conf(pool, &args) : NULL;
}

/* @param otherwise  mod_dbd's default */
static int configured_number(apr_pool_t *ptemp, const char *name, int otherwise)
{
    const char *text = core_db_configured(ptemp, name);
    return text ? (int)strtol(text, NULL, 10) : otherwise;
}

/* With numbers that do not fit each other mod_dbd starts, and never has a connection to give (apr_reslist_create). */
static int sizes_fit(apr_pool_t *ptemp, server_rec *s)
{
    int min = configured_number(ptemp, "DBDMin", 1), keep = configured_number(ptemp, "DBDKeep", 2);
    int max = configured_number(ptemp, "DBDMax", DBD_MAX_DEFAULT);

    if (min >= 0 && min <= keep && keep <= max && max > 0) {
        return 1;
    }
    ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_EMERG, 0, s,
                 "DBDMin %d, DBDKeep %d, DBDMax %d (where one is not set, mod_dbd's default): with them mod_dbd makes no "
                 "connection; 0 <= DBDMin <= DBDKeep <= DBDMax is needed",
                 min, keep, max);
    return 0;
}

int core_db_check(apr_pool_t *ptemp, server_rec *s)
{
    const char *driver = core_db_configured(ptemp, "DBDriver"), *conninfo = core_db_configured(ptemp, "DBDParams"),
               *error = NULL;

    if (!core_db_pool_find_dbd()) {
        ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_EMERG, 0, s,
                     "Meterplex needs mod_dbd: add \"LoadModule dbd_module modules/mod_dbd.so\"");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    if (driver == NULL || strcmp(driver, "pgsql") != 0) {
        ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_EMERG, 0, s,
                     "Meterplex keeps its data in PostgreSQL: DBDriver is \"%s\", it must be \"pgsql\"",
                     driver ? driver : "(not set)");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    if (conninfo == NULL || core_db_params(ptemp, conninfo, &error) == NULL) {
        ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_EMERG, 0, s,
                     "Meterplex needs DBDParams, a connection string of PostgreSQL such as \"host=/run/postgresql "
                     "dbname=meterplex user=meterplex\"; it %s%s",
                     conninfo ? "cannot be read: " : "is not set", conninfo ? error : "");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    if (!sizes_fit(ptemp, s)) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    /* libpq's own is to wait without end: for a host that is silent a child would, at its start or in its opener. What the
     * connection string says goes before the environment. */
    setenv("PGCONNECT_TIMEOUT", CONNECT_TIMEOUT, 0);
    return OK;
}
