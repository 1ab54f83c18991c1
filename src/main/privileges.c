#include "main/privileges.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

static _printf_(3, 4) int why(char **ret_why, int error, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	if (vasprintf(ret_why, format, ap) < 0)
		*ret_why = NULL;
	va_end(ap);
	return error;
}

int privileges_of_user(const char *name, struct identity *ret, char **ret_why)
{
	const struct passwd *user = getpwnam(name);

	if (!user)
		return why(ret_why, -ESRCH, "there is no user \"%s\"", name);
	*ret = (struct identity) { .change = true, .uid = user->pw_uid, .gid = user->pw_gid };
	snprintf(ret->name, sizeof(ret->name), "%s", name);
	return 0;
}

int privileges_find(const struct config *c, struct identity *ret, char **ret_why)
{
	struct identity id = { 0 };
	const struct group *group;
	int r;

	if (geteuid() != 0 || !c->user) {
		*ret = id;
		return 0;
	}
	r = privileges_of_user(c->user, &id, ret_why);
	if (r < 0)
		return r;
	if (c->group) {
		group = getgrnam(c->group);
		if (!group)
			return why(ret_why, -ESRCH, "there is no group \"%s\" (group: in %s)", c->group, c->file);
		id.gid = group->gr_gid;
	}
	*ret = id;
	return 0;
}

int privileges_prepare_spool(const struct identity *id, const char *path, char **ret_why)
{
	struct stat st;

	if (!id->change)
		return 0;
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return why(ret_why, -errno, "cannot make the spool directory %s: %s", path, strerrordesc_np(errno));
	if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode))
		return why(ret_why, -ENOTDIR, "%s is not a directory", path);
	if (st.st_uid == id->uid)
		return 0;
	/* Only an empty place of root's is given away: what others own is a mistake to look at. */
	if (st.st_uid == 0 && st.st_nlink <= 2 && lchown(path, id->uid, id->gid) == 0)
		return 0;
	return why(ret_why, -EPERM, "the spool directory %s does not belong to user %s; chown it (with what is in it)", path,
		   id->name);
}

int privileges_drop(const struct identity *id, char **ret_why)
{
	if (!id->change)
		return 0;
	if (initgroups(id->name, id->gid) < 0 || setresgid(id->gid, id->gid, id->gid) < 0 ||
	    setresuid(id->uid, id->uid, id->uid) < 0)
		return why(ret_why, -errno, "cannot become user %s: %s", id->name, strerrordesc_np(errno));
	if (id->uid != 0 && (setuid(0) == 0 || seteuid(0) == 0 || geteuid() != id->uid || getegid() != id->gid))
		return why(ret_why, -EPERM, "root could not be given up");
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return 0;
}
