-- The view's rows as they are now, in its place: what stands on it is not evaluated again for each question.
CREATE TABLE evaluated_$view AS FROM $view;
CREATE OR REPLACE VIEW $view AS FROM evaluated_$view;
