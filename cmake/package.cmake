# What `cmake --install` puts where, and the Debian package that `cpack` makes of it.
# Without a word of where, /usr: the configuration is then in /etc, where the unit looks for it.
if(CMAKE_INSTALL_PREFIX_INITIALIZED_TO_DEFAULT)
  set(CMAKE_INSTALL_PREFIX /usr CACHE PATH "where to install" FORCE)
endif()
include(GNUInstallDirs)
install(TARGETS shoald shoal-keeper RUNTIME DESTINATION ${CMAKE_INSTALL_SBINDIR})
install(TARGETS shoal nydusd RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
foreach(unit shoal shoal-keeper)
  configure_file(tools/package/${unit}.service.in ${PROJECT_BINARY_DIR}/package/${unit}.service @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/package/${unit}.service DESTINATION lib/systemd/system)
endforeach()
install(FILES tools/package/shoal.yaml DESTINATION ${CMAKE_INSTALL_FULL_SYSCONFDIR}/shoal)
install(FILES tools/package/shoal.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions
  RENAME shoal)
# The pages as they stand in the repository, with the chart, so that their links lead somewhere.
file(CREATE_LINK copyright ${PROJECT_BINARY_DIR}/package/LICENSE SYMBOLIC)
install(FILES README.md CONTRIBUTING.md tools/package/copyright ${PROJECT_BINARY_DIR}/package/LICENSE
  DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs charts DESTINATION ${CMAKE_INSTALL_DOCDIR} PATTERN charts/schema EXCLUDE)

# package_gzip(PATH OUTPUT COMMAND...): what the command prints, packed as Debian wants it, without a date.
set(package_dir ${PROJECT_BINARY_DIR}/package)
set(packed)
file(GLOB package_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tools/package/*)
function(package_gzip output)
  add_custom_command(OUTPUT ${package_dir}/${output}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${package_dir}
    COMMAND sh -c "\"$@\" | gzip -9n > ${package_dir}/${output}.new && mv ${package_dir}/${output}.new ${package_dir}/${output}"
      sh ${ARGN}
    WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
    DEPENDS shoal shoald ${package_sources} VERBATIM)
  set(packed ${packed} ${package_dir}/${output} PARENT_SCOPE)
endfunction()
package_gzip(shoal.1.gz $<TARGET_FILE:shoal> --print-docs man)
package_gzip(shoald.yaml.5.gz $<TARGET_FILE:shoald> --print-docs man)
package_gzip(nydusd.1.gz cat tools/package/nydusd.1)
package_gzip(shoald.8.gz cat tools/package/shoald.8)
package_gzip(shoal-keeper.8.gz cat tools/package/shoal-keeper.8)
package_gzip(changelog.gz cat tools/package/changelog)
add_custom_target(pages ALL DEPENDS ${packed})
install(FILES ${package_dir}/shoal.1.gz ${package_dir}/nydusd.1.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${package_dir}/shoald.yaml.5.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man5)
install(FILES ${package_dir}/shoald.8.gz ${package_dir}/shoal-keeper.8.gz
  DESTINATION ${CMAKE_INSTALL_MANDIR}/man8)
install(FILES ${package_dir}/changelog.gz DESTINATION ${CMAKE_INSTALL_DOCDIR})

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME shoal)
set(CPACK_PACKAGE_CONTACT "The shoal authors <maintainers@shoal.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "node agent that mounts container images lazily")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
"shoal mounts container images (nydus, RAFS v6 and v5) before they are
downloaded: a chunk is fetched when somebody reads it, checked against its
digest, and kept. What a node has is never fetched again.")
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
find_program(DPKG_SHLIBDEPS dpkg-shlibdeps)
if(NOT DPKG_SHLIBDEPS) # cpack would leave the dependencies out, and say so in a warning alone
  message(STATUS "no dpkg-shlibdeps: cpack makes no package (tools/setup package)")
  set(CPACK_GENERATOR TGZ)
endif()
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS ca-certificates)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
file(WRITE ${PROJECT_BINARY_DIR}/package/conffiles "/etc/shoal/shoal.yaml\n")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
  ${PROJECT_SOURCE_DIR}/tools/package/postinst ${PROJECT_SOURCE_DIR}/tools/package/prerm
  ${PROJECT_SOURCE_DIR}/tools/package/postrm ${PROJECT_BINARY_DIR}/package/conffiles)
include(CPack)
