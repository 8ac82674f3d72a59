-- Who was answered for a team: one row a team. Later runs begin with that owner.
create table answered (
    key   text not null primary key,
    owner text not null
) strict, without rowid;

-- What was done before about the references of a batch, which replaces the number of its ask; null for a first one.
alter table pending drop column ask;
alter table pending add column history blob;
-- Whether the owner that is asked replaces the one that was answered before.
alter table pending add column replaces integer not null default 1;
alter table done drop column ask;

-- An empty "asked" says that the owner is still to be chosen.
alter table carried add column history blob;
-- How often the references were refused for now; 0 for those that wait for another owner.
alter table carried add column deferrals integer not null default 0;
