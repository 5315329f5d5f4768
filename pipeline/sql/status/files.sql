SELECT dataset, count(*) AS files
FROM tree.files
WHERE NOT void
GROUP BY dataset
ORDER BY dataset
