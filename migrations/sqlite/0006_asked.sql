-- The owners that rows named for a failure of a team, each of whom was asked once for it: a JSON array, null while there is one.

alter table failures add column asked text;
