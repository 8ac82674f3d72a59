-- Tables and columns by the words of the field. From here on IDs and references are also stored in a simpler form, which
-- earlier versions cannot read.

alter table announced rename to intent;
alter table courses rename to timelines;
alter table commits rename column announced to intended;
