-- Failures that an operator dismissed (state -1: closed_at, note and closed_by say when, why and who), and rows of the
-- input that are told together, so that a file of another kind costs little.

alter table failures add column closed_by text;
alter table failures add column rows integer not null default 1; -- of the input; more than 1 where they are told together
alter table failures add column mark text not null default '';   -- tells rows that are told together from others
alter table failures add column ids blob;                        -- the message IDs in them, as far as they could be read
create index failures_together on failures (id) where state < 2 and ids is not null;

drop index failures_invalid;
create unique index failures_invalid on failures (source, message, mark) where state < 2 and class = 'invalid';
