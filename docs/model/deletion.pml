/* The deletion protocol on one storage key: two writers, two collectors, one crash, one restored backup.
 *
 * What has to hold: when no process can take another step, a committed live row has its object (its
 * writer may have got an error instead of the commit); and a live row is never removed. README.md
 * says how it is run, with every rule and without each of them.
 *
 * Each `atomic` is one statement or one transaction of Postgres, or one request to the store.
 */

#define WRITERS 2
#define COLLECTORS 2
#define BIT(who) (1 << (who))

/* What the key's rows say: no row, one that is due, one that is live. */
#define NO_ROW 0
#define DUE 1
#define LIVE 2

mtype = { ABSENT, FOUND, CLAIMED };		/* the mark */
mtype = { NOTHING, UNSENT, SENT, GONE, CHANGED };	/* a collector's request to the store */

/* The store. Contents are their ETags; 0 is no object. */
byte object = 1;
byte latest = 1;		/* what was put last: what would be there without us */
byte copied = 0;		/* the copy in quarantine */
byte copy_number;		/* each has a name of its own */

/* The database, as committed. */
byte row;
mtype mark = ABSENT;
byte mark_etag, mark_operation;
bool released, tombstone;
byte epoch;

/* Open transactions of writers: those with an id; those that hold the mark FOR SHARE; those of the
 * first that the pass's stamp is not yet behind; and those that may not have seen the claim. */
byte open, sharing, stamped, unseen;

/* The database does not let the row go, by a foreign key or a trigger: from some moment on. */
bool refuses;

/* Writers between their PUT and their transaction; and who was open when the purge looked. */
byte uploading, unpurged;

/* What the last leader sealed, and what the database says of itself: a number that is new with each seal,
 * and all that a restore gives anew (timeline, oids, the server). */
byte nonce, lineage;
byte sealed_nonce, sealed_lineage;	/* in the bucket's identity */

/* Writers go on in the database of which this one is a copy; or they committed what a restore has lost. */
bool copy;
bool forgotten;

mtype request[COLLECTORS] = NOTHING;
byte request_etag[COLLECTORS];
bool crashed;

/* --- writers -------------------------------------------------------------------------------- */

inline ended(me) {
	open = open & ~BIT(me);
	sharing = sharing & ~BIT(me);
	stamped = stamped & ~BIT(me);
	unseen = unseen & ~BIT(me);
	unpurged = unpurged & ~BIT(me)
}

/* Puts an object, then inserts its row or makes it live again, through the trigger. */
proctype Writer(byte me; byte content) {
	atomic { object = content; latest = content; uploading = uploading | BIT(me) }	/* PUT */

	atomic {				/* the trigger takes an id first ... */
		open = open | BIT(me);
		uploading = uploading & ~BIT(me)
	}
	atomic {				/* ... and then looks for the mark, and locks it */
		if
#if !defined(NO_RAISE) && !defined(NO_TRIGGERS)
		:: mark == CLAIMED -> ended(me); goto refused
#endif
#if !defined(NO_SHARE) && !defined(NO_TRIGGERS)
		:: mark == FOUND -> sharing = sharing | BIT(me)
#endif
		:: else
		fi
	}
	atomic {
		if
#if !defined(NO_TOMBSTONE) && !defined(NO_TRIGGERS) && !defined(QUARANTINE)
		:: tombstone -> ended(me); goto refused	/* nothing could bring the object back */
#endif
		:: else
		fi
	}
	if
	:: atomic {				/* commit, in this database or in the one it was copied from */
		if
		:: copy -> forgotten = true
		:: else -> row = LIVE
		fi;
		ended(me) }
	:: atomic { ended(me) }			/* or roll back */
	fi;
refused:
	skip
}

/* --- collectors ----------------------------------------------------------------------------- */

inline may_crash() {
	if
	:: atomic { !crashed -> crashed = true; goto dead }
	:: skip
	fi
}

/* Every transaction that was open at arming has ended. */
#ifdef NO_STAMP
#define BEHIND_HORIZON true
#else
#define BEHIND_HORIZON (stamped == 0)
#endif

/* The database is the one that was sealed, as it was then or later. */
#if defined(NO_LINEAGE) && defined(NO_NONCE)
#define SEALED true
#elif defined(NO_LINEAGE)
#define SEALED (nonce == sealed_nonce)
#elif defined(NO_NONCE)
#define SEALED (lineage == sealed_lineage)
#else
#define SEALED (nonce == sealed_nonce && lineage == sealed_lineage)
#endif

/* Nothing of the other one can still reach the store: its lease and its longest request are over. */
#ifdef LATE
#define SILENT(other) true
#else
#define SILENT(other) (request[other] != UNSENT && request[other] != SENT)
#endif

/* The requests of collector `me`, delivered whenever the network likes. */
active [COLLECTORS] proctype Network() {
	byte me = _pid;
end:
	do
	:: atomic { request[me] == SENT ->
		if
		:: object == 0 -> request[me] = GONE
#ifdef NO_IF_MATCH
		:: object != 0 -> object = 0; request[me] = GONE
#else
		:: object != 0 && object == request_etag[me] -> object = 0; request[me] = GONE
		:: object != 0 && object != request_etag[me] -> request[me] = CHANGED
#endif
		fi }
	od
}

proctype Collector(byte me) {
	byte my_epoch, seen, listed;

	atomic {				/* the lease, taken whenever it likes, and the seal */
		epoch++;
		my_epoch = epoch;
#ifdef RESTORE
		if
		:: SEALED -> nonce++; sealed_nonce = nonce
		:: else
		fi
#endif
	}

	/* The sweep: bucket first, rows after. */
	listed = object;
	seen = row;
	atomic {
		if
		:: epoch == my_epoch && listed != 0 && seen != LIVE && mark == ABSENT ->
			mark = FOUND; mark_etag = listed; released = false
		:: else
		fi
	}
	may_crash();

	/* Arm, by a later transaction whose stamp says who was open. */
	atomic {
		if
		:: epoch == my_epoch && mark == FOUND && !released -> released = true; stamped = open
		:: else
		fi
	}
	may_crash();

	/* Claim; or roll another one's claim forward, once nothing of it can still arrive. */
	atomic {
		if
		:: SEALED && epoch == my_epoch && mark == FOUND && released && sharing == 0 && BEHIND_HORIZON ->
			if
			:: row == LIVE -> mark = ABSENT; goto done
#ifndef NO_REHEARSAL
			:: row == DUE && refuses -> mark = ABSENT; goto done	/* tried, and rolled back */
			:: row != LIVE && !(row == DUE && refuses) -> mark = CLAIMED; mark_operation = me
#else
			:: else -> mark = CLAIMED; mark_operation = me
#endif
			fi
		:: SEALED && epoch == my_epoch && mark == CLAIMED && mark_operation != me && SILENT(1 - me) ->
#ifdef REOPEN
			mark = FOUND; goto done		/* and the writers may go on */
#else
			mark_operation = me
#endif
		:: else -> goto done
		fi;
		request[me] = UNSENT;
		request_etag[me] = mark_etag;
		unseen = open
	}
	may_crash();

#ifdef NO_TRIGGERS
	/* Transactions that could not see the claim have ended: look again. */
	unseen == 0;
	if
	:: row == LIVE -> request[me] = CHANGED
	:: else
	fi;
#endif
#ifdef QUARANTINE
	/* The copy compares as well; where it cannot be made nothing is deleted. */
	atomic {
		if
		:: request[me] == UNSENT && object == 0 -> request[me] = GONE
		:: request[me] == UNSENT && object == request_etag[me] -> copied = object; copy_number++
		:: request[me] == UNSENT && object != 0 && object != request_etag[me] -> request[me] = CHANGED
		:: else
		fi
	}
	may_crash();
#endif
	atomic {
		if
#ifndef LATE	/* the gateway refuses once the lease may have ended */
		:: request[me] == UNSENT && epoch != my_epoch -> request[me] = NOTHING; goto done
#endif
		:: request[me] == UNSENT && !SEALED -> request[me] = NOTHING; goto done
		:: request[me] == UNSENT && SEALED -> request[me] = SENT
		:: else
		fi
	}
	may_crash();
	request[me] == GONE || request[me] == CHANGED;

	/* Confirm, while the operation is still ours. */
	atomic {
		if
		:: epoch == my_epoch && mark == CLAIMED && mark_operation == me ->
			mark = ABSENT;
			if
			:: request[me] == GONE ->
				tombstone = true;
				if
				:: row == DUE && !refuses -> row = NO_ROW
#ifdef NO_VERSION
				:: row == LIVE -> assert(false)		/* a live row would go */
#endif
				:: else
				fi
			:: else
			fi
		:: else
		fi
	}
	goto done;
dead:
	/* A request that was only meant is never sent; one under way may still arrive. */
	atomic {
		if
		:: request[me] == UNSENT -> request[me] = NOTHING
		:: else
		fi
	}
done:
	skip
}

#ifdef REFUSED
/* Another table refers to the row: at any moment where objects come back, else before the sweep. */
proctype Referrer() {
	refuses = true
}
#endif

/* --- the purge ------------------------------------------------------------------------------ */

/* What was hidden for long enough: its window is longer than a writer takes from its PUT to its row. A
 * deletion as well: it claims, waits for who was open, and looks at the rows again. */
#ifdef NO_LAST_LOOK
#define UNNAMED true
#else
#define UNNAMED (row == NO_ROW)
#endif

proctype Purge() {
	byte mine;

	atomic {
		if
		:: copied != 0 && mark == ABSENT && tombstone && uploading == 0 && UNNAMED ->
			mine = copy_number; unpurged = open
		:: else -> goto done
		fi
	}
#ifndef NO_SECOND_LOOK
	unpurged == 0;
	if
	:: row != NO_ROW -> goto done
	:: else
	fi;
#endif
	atomic {
		if
		:: copy_number == mine -> copied = 0
		:: else
		fi
	}
done:
	skip
}

/* --- a backup ------------------------------------------------------------------------------- */

#ifdef RESTORE
/* Made at one moment and put back at another, or beside the original. Whoever was in a transaction has
 * rolled back; requests and uploads do not outlast the time that it takes. */
proctype Restore() {
	byte kept_row, kept_nonce, kept_epoch, kept_etag, kept_operation;
	mtype kept_mark;
	bool kept_armed, kept_tombstone;

	atomic { open == 0 ->
		kept_row = row; kept_nonce = nonce; kept_epoch = epoch;
		kept_mark = mark; kept_etag = mark_etag; kept_operation = mark_operation;
		kept_armed = released; kept_tombstone = tombstone
	}
	atomic { open == 0 && uploading == 0 && request[0] != SENT && request[1] != SENT ->
		if
		:: lineage++				/* a dump, a recovery to a moment */
		:: kept_nonce != nonce			/* the disk as it was, before the last seal */
		:: mark != CLAIMED && !tombstone -> lineage++; copy = true	/* a second database */
		fi;
		forgotten = (row == LIVE);
		row = kept_row; nonce = kept_nonce; epoch = kept_epoch;
		mark = kept_mark; mark_etag = kept_etag; mark_operation = kept_operation;
		released = kept_armed; tombstone = kept_tombstone;
		stamped = 0
	}
}
#endif

/* --- everything ----------------------------------------------------------------------------- */

init {
	atomic {
		if
		:: row = NO_ROW			/* an orphan */
		:: row = DUE			/* an object whose row retention takes */
		fi;
#ifdef REFUSED
#ifdef QUARANTINE
		run Referrer();
#else
		refuses = true;
#endif
#endif
		run Writer(0, 1);		/* the same content again, as content-addressed keys have it */
#ifndef RESTORE				/* one misfortune at a time */
		run Writer(1, 2);
#endif
		run Collector(0);
		run Collector(1);
#ifdef PURGE
		run Purge();
#endif
#ifdef RESTORE
		crashed = true;
		run Restore()
#endif
	}
	timeout;				/* no process can take another step */
#if defined(QUARANTINE) && !defined(NO_HEALING)
	/* Healing: a row that stays and whose object is gone gets the copy back, if it is the one meant. */
	if
	:: (row == LIVE || row == DUE && refuses) && object == 0 && copied == latest -> object = copied
	:: else
	fi;
#endif
	assert(row != LIVE || object == latest);
	assert(!forgotten || object != 0 || copied == latest);
	assert(!(row == DUE && refuses) || object != 0)
}
