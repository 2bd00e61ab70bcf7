# meterplexctl: the command line; it links the parts of the rooms that know nothing of httpd.
#
# ./dev and t/harness call it so:
#   meterplexctl migrate --database URL [--migrations DIR]      DIR: METERPLEX_DATADIR "/migrations" by default
#   meterplexctl keygen FILE                                    mode 0600; refuses to overwrite
#   meterplexctl bootstrap --database URL --key-file FILE       prints the platform administrator's key (mpx_live_...)
#   meterplexctl tenant create --database URL --key-file FILE --slug S --name N     prints the id (ten_...)
#   meterplexctl key create --database URL --key-file FILE --tenant T --name N --scopes "a b"   prints the secret
#   meterplexctl import --database URL --format combined --tenant T FILE...
# METERPLEX_DATABASE and METERPLEX_KEY_FILE in the environment stand for --database and --key-file.
if ROOM_CTL
sbin_PROGRAMS += meterplexctl
meterplexctl_SOURCES = support/meterplexctl.c
meterplexctl_LDADD = libmpx_usage.la libmpx_identity.la libmpx_db.la libmpx_lib.la \
	$(PQ_LIBS) $(SODIUM_LIBS) $(APU_LIBS) $(APR_LIBS) -lm
endif
